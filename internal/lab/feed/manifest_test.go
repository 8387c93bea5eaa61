package feed

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func small() *Manifest {
	return &Manifest{
		Topics:   []string{"t"},
		Contacts: []Contact{{"a", "1"}, {"a", "2"}, {"b", "3"}, {"b", "4"}},
		Records: []Record{
			{Offset: 0, Seq: 1, Contact: 0},
			{Offset: 1, Seq: 1, Contact: 1, Class: Delete},
			{Offset: 2, Seq: 2, Contact: 0},
			{Offset: 0, Seq: 1, Contact: 2, Partition: 1},
			{Offset: 1, Seq: 1, Contact: 3, Partition: 1},
			{Offset: 2, Seq: 3, Contact: 0, Class: Undecodable},
		},
	}
}

func TestManifest_Sum(t *testing.T) {
	t.Parallel()
	m := small()
	s := m.Sum()
	if s.Events != 6 || s.Distinct() != 3 || !reflect.DeepEqual(s.Contacts, map[string]int{"a": 1, "b": 2}) ||
		!reflect.DeepEqual(s.Classes, map[Class]int{Update: 4, Delete: 1, Undecodable: 1}) {
		t.Errorf("sum %+v", s)
	}
	for rows, want := range map[int]int{1: 3, 2: 2, 100: 2} {
		if got := s.Floor(rows); got != want {
			t.Errorf("floor with %d rows a call is %d, want %d", rows, got, want)
		}
	}
	if got := m.LastSeq(); !reflect.DeepEqual(got, []int64{2, 0, 1, 1}) {
		t.Errorf("last seqs %v", got)
	}
}

func TestManifest_FileAndBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "manifest")
	if err := small().WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	if err != nil || !reflect.DeepEqual(got, small()) {
		t.Errorf("read %+v, %v", got, err)
	}
	var buf bytes.Buffer
	bad := small()
	bad.Records[0].Contact = 99
	if err := bad.Write(&buf); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&buf); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged manifest: %v", err)
	}
	if _, err := Read(strings.NewReader("no")); err == nil {
		t.Error("nonsense was read")
	}
	if _, err := ReadFile(path + "x"); err == nil {
		t.Error("a missing file was read")
	}
}

func TestManifest_Append(t *testing.T) {
	t.Parallel()
	m := small()
	m.Append(&Manifest{
		Topics:   []string{"u", "t"},
		Contacts: []Contact{{"b", "3"}, {"c", "9"}},
		Records:  []Record{{Seq: 5, Contact: 0, Topic: 1}, {Seq: 1, Contact: 1, Topic: 0}},
	})
	if len(m.Contacts) != 5 || !reflect.DeepEqual(m.Topics, []string{"t", "u"}) {
		t.Errorf("contacts %v, topics %v", m.Contacts, m.Topics)
	}
	if a, b := m.Records[6], m.Records[7]; a.Contact != 2 || a.Topic != 0 || b.Contact != 4 || b.Topic != 1 {
		t.Errorf("records %+v, %+v", a, b)
	}
	if got := m.LastSeq(); !reflect.DeepEqual(got, []int64{2, 0, 5, 1, 1}) {
		t.Errorf("last seqs %v", got)
	}
}
