package group

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

// subscriptionOf writes a subscription as franz-go does; without the partitions
// owned where short.
func subscriptionOf(version int16, topics []string, userData []byte, owned map[string][]int32, generation int32) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics, m.UserData, m.Generation = version, topics, userData, generation
	for _, t := range slices.Sorted(keys(owned)) {
		m.OwnedPartitions = append(m.OwnedPartitions, kmsg.ConsumerMemberMetadataOwnedPartition{Topic: t, Partitions: owned[t]})
	}
	return m.AppendTo(nil)
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestSubscription_IsReadByAnotherClient(t *testing.T) {
	t.Parallel()
	for _, s := range []subscription{
		{topics: []string{"a", "b"}},
		{topics: []string{"a"}, userData: []byte{0, 0, 0, 3}},
		{topics: []string{"a"}, userData: claims{[]contactsync.TopicPartition{tp("a", 1), tp("b", 0)}, 4}.bytes()},
	} {
		var m kmsg.ConsumerMemberMetadata
		m.Default()
		if err := m.ReadFrom(s.bytes()); err != nil {
			t.Fatal(err)
		}
		if m.Version != 0 || !slices.Equal(m.Topics, s.topics) || !bytes.Equal(m.UserData, s.userData) {
			t.Errorf("%+v is read as %+v", s, m)
		}
		if !bytes.Equal(m.AppendTo(nil), s.bytes()) {
			t.Errorf("%+v has bytes that are not read", s)
		}
	}
}

func TestSubscription_EveryVersionIsRead(t *testing.T) {
	t.Parallel()
	topics, owned := []string{"a", "b"}, map[string][]int32{"a": {2, 0}}
	full := subscription{topics: topics, userData: []byte{7}, owned: []contactsync.TopicPartition{tp("a", 0), tp("a", 2)}, generation: 5}
	v0 := subscription{topics: topics, userData: []byte{7}, generation: -1}
	v1 := subscription{topics: topics, userData: []byte{7}, owned: full.owned, generation: -1}
	for _, c := range []struct {
		name string
		in   []byte
		want subscription
	}{
		{"v0", subscriptionOf(0, topics, []byte{7}, nil, -1), v0},
		{"v1 without owned partitions", append([]byte{0, 1}, subscriptionOf(0, topics, []byte{7}, nil, -1)[2:]...), v0},
		{"v1", subscriptionOf(1, topics, []byte{7}, owned, -1), v1},
		{"v2", subscriptionOf(2, topics, []byte{7}, owned, 5), full},
		{"v3", subscriptionOf(3, topics, []byte{7}, owned, 5), full},
		{"v7 with a tail", append(append([]byte{0, 7}, subscriptionOf(3, topics, []byte{7}, owned, 5)[2:]...), 1, 2, 3), full},
		{"v0 with a tail", append(subscriptionOf(0, topics, []byte{7}, nil, -1), 9), v0},
		{"no user data", subscriptionOf(0, topics, nil, nil, -1), subscription{topics: topics, generation: -1}},
		{"no topics", subscriptionOf(0, nil, []byte{}, nil, -1), subscription{userData: []byte{}, generation: -1}},
	} {
		got, err := readSubscription(c.in)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	many := make([]string, maxTopics+1)
	for name, in := range map[string][]byte{
		"nothing": {}, "one byte": {0}, "version -1": append([]byte{0xff, 0xff}, subscriptionOf(0, topics, nil, nil, -1)[2:]...),
		"2^31-1 topics": {0, 0, 0x7f, 0xff, 0xff, 0xff}, "cut topics": {0, 0, 0, 0, 0, 2, 0, 1, 'a', 0, 4, 'b'},
		"too many topics": subscriptionOf(0, many, nil, nil, -1), "negative partition": subscriptionOf(1, topics, nil, map[string][]int32{"a": {-1}}, -1),
		"2^31-1 partitions": append(append([]byte{0, 1}, subscriptionOf(0, topics, nil, nil, -1)[2:]...), 0, 0, 0, 1, 0, 1, 'a', 0x7f, 0xff, 0xff, 0xff),
	} {
		if got, err := readSubscription(in); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v, want an error", name, got, err)
		}
	}
}

func TestAssignment_IsWrittenAndReadAsByOthers(t *testing.T) {
	t.Parallel()
	parts := []contactsync.TopicPartition{tp("a", 0), tp("a", 3), tp("b", 1)}
	for _, want := range [][]contactsync.TopicPartition{nil, parts} {
		var m kmsg.ConsumerMemberAssignment
		if err := m.ReadFrom(encodeAssignment(want)); err != nil {
			t.Fatal(err)
		}
		for v := range int16(6) {
			m.Version = v
			m.UserData = []byte{1, 2}
			got, err := readAssignment(append(m.AppendTo(nil), 4))
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("v%d: %v, %v, want %v", v, got, err, want)
			}
		}
	}
	if len(encodeAssignment(nil)) < 10 {
		t.Error("an empty assignment is not written in full: Java throws below two bytes")
	}
	if got, err := readAssignment(nil); err != nil || got != nil {
		t.Errorf("no bytes: %v, %v", got, err)
	}
	for _, bad := range [][]byte{{0}, {0, 0, 0x7f, 0xff, 0xff, 0xff}, {0xff, 0xfe, 0, 0, 0, 0}} {
		if _, err := readAssignment(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestClaims_AreReadWithAndWithoutGeneration(t *testing.T) {
	t.Parallel()
	want := claims{[]contactsync.TopicPartition{tp("a", 0), tp("b", 1)}, 4}
	var m kmsg.StickyMemberMetadata
	if err := m.ReadFrom(want.bytes()); err != nil || m.Generation != 4 || len(m.CurrentAssignment) != 2 {
		t.Errorf("kmsg reads %+v, %v", m, err)
	}
	if got := readClaims(want.bytes()); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	old := want.bytes()
	if got := readClaims(old[:len(old)-4]); !slices.Equal(got.owned, want.owned) || got.generation != -1 {
		t.Errorf("without a generation: %+v", got)
	}
	for _, bad := range [][]byte{nil, {0, 0, 0, 9}, {1, 2, 3}, {0x7f, 0xff, 0xff, 0xff, 0, 0}} {
		if got := readClaims(bad); got.owned != nil || got.generation != -1 {
			t.Errorf("%x claims %+v", bad, got)
		}
	}
}

func FuzzConsumerProtocol(f *testing.F) {
	f.Add(subscriptionOf(3, []string{"a"}, []byte{1}, map[string][]int32{"a": {1}}, 3))
	f.Add(encodeAssignment([]contactsync.TopicPartition{tp("a", 0)}))
	f.Add(claims{[]contactsync.TopicPartition{tp("a", 0)}, 3}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Within(t, 1<<20+100*len(b))()
		if s, err := readSubscription(b); err == nil {
			again, err := readSubscription(s.bytes())
			if err != nil || !slices.Equal(again.topics, s.topics) {
				t.Errorf("%+v is written so that it reads as %+v, %v", s, again, err)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
		if parts, err := readAssignment(b); err == nil {
			again, err := readAssignment(encodeAssignment(parts))
			if err != nil || !slices.Equal(again, parts) {
				t.Errorf("%v is written so that it reads as %v, %v", parts, again, err)
			}
		}
		readClaims(b)
	})
}
