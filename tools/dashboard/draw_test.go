package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDocument_TextIsCurrent(t *testing.T) {
	t.Parallel()
	if read(t, documentFile) != document(rows) {
		t.Errorf("%s is stale: make docs", documentFile)
	}
}

// texts are all texts of a picture, which has to be well-formed.
func texts(t *testing.T, picture string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok {
			all[string(text)] = true
		}
	}
}

// A panel that was added or renamed needs a picture.
func TestDocument_PicturesHaveEachPanel(t *testing.T) {
	t.Parallel()
	size := 0
	for _, row := range rows {
		text := read(t, filepath.Join(pictureDir, picture(row)))
		size += len(text)
		all := texts(t, text)
		for _, p := range row.panels {
			if !all[p.title] {
				t.Errorf("%s has no panel %q: make dashboard", picture(row), p.title)
			}
			if p.none != "" && p.kind != stats && all[p.none] {
				t.Errorf("%s: nothing is drawn for %q", picture(row), p.title)
			}
		}
	}
	if size > 300_000 {
		t.Errorf("the pictures have %d bytes", size)
	}
	files, err := os.ReadDir(pictureDir)
	if err != nil || len(files) != len(rows) {
		t.Errorf("%d pictures for %d rows, %v", len(files), len(rows), err)
	}
}

// answered is what a Prometheus answers where each query has one series with these values.
func answered(t *testing.T, values ...string) answers {
	t.Helper()
	var points []string
	for i, v := range values {
		points = append(points, fmt.Sprintf("[%d,%q]", 100+2*i, v))
	}
	id, all := uint32(1), map[uint32]json.RawMessage{}
	for _, row := range rows {
		for _, p := range row.panels {
			id++
			one := fmt.Sprintf(`[{"metric":{"account":"a<b"},"values":[%s]}]`, strings.Join(points, ","))
			all[id] = json.RawMessage("[" + strings.Repeat(one+",", len(p.queries)-1) + one + "]")
		}
		id++
	}
	text, err := json.Marshal(map[string]any{"from": 100, "step": 2, "answers": all})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "answers.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := readAnswers(file)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestDraw_IsTheSameForTheSameAnswers(t *testing.T) {
	t.Parallel()
	r, a := load(t), answered(t, "0", "0.7", "NaN", "3", "+Inf", "2")
	var twice [2]string
	for i := range twice {
		dir := t.TempDir()
		if err := r.draw(a, dir); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			text := read(t, filepath.Join(dir, picture(row)))
			if texts(t, text); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
				t.Errorf("%s has a value that is no number", picture(row))
			}
			twice[i] += text
		}
	}
	if twice[0] != twice[1] {
		t.Error("it was drawn in two ways")
	}
	if !strings.Contains(twice[0], "a&lt;b") {
		t.Error("names of series are not in the pictures, or not escaped")
	}
}

// An answer that is missing would shift all that come after it.
func TestDraw_RefusesAnswersToOtherQueries(t *testing.T) {
	t.Parallel()
	a := answered(t, "1")
	delete(a.Answers, 2)
	if err := load(t).draw(a, t.TempDir()); err == nil {
		t.Error("a query that was not asked is drawn")
	}
}

func TestShade(t *testing.T) {
	t.Parallel()
	s := &sheet{rules: load(t)}
	for v, want := range map[float64]string{0: "Yes", 1: "Behind", 2: "Stuck", 3: "Not all is read"} {
		if _, text := s.shade(verdict[0], v); text != want {
			t.Errorf("%v is %q, want %q", v, text, want)
		}
	}
	for v, want := range map[float64]string{0: green, 299: green, 300: orange, 1800: red} {
		if color, _ := s.shade(verdict[1], v); color != shades[want] {
			t.Errorf("an age of %v s is %s, want %s", v, color, want)
		}
	}
}

func TestPath_BreaksWhereNothingIsKnown(t *testing.T) {
	t.Parallel()
	at := func(i int, v float64) string { return fmt.Sprintf("%d,%v ", i, v) }
	nan := math.NaN()
	for _, tt := range []struct {
		values []float64
		want   string
	}{
		{[]float64{1, 2, nan, 3, 4}, "M0,1 L1,2 M3,3 L4,4 "},
		{[]float64{5, 5, 5, 5, 6}, "M0,5 L3,5 L4,6 "},
		{[]float64{nan, nan}, ""},
	} {
		if got := path(tt.values, at); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.values, got, tt.want)
		}
	}
}

func TestStacked_LiesOnWhatIsBelow(t *testing.T) {
	t.Parallel()
	got := stacked([]line{{"a", []float64{1, math.NaN()}}, {"b", []float64{2, 3}}})
	if fmt.Sprint(got) != "[{a [1 0]} {b [3 3]}]" {
		t.Errorf("got %v", got)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		v, most float64
		unit    string
		want    string
	}{
		{0.25, 0.25, "s", "250 ms"},
		{0, 3, "s", "0 s"},
		{60, 240, "s", "1 min"},
		{30 * 86400, 30 * 86400, "s", "30 d"},
		{0.144, 1, "percentunit", "14.4 %"},
		{1536, 1536, "none", "1.54k"},
		{3 << 20, 3 << 20, "bytes", "3 MiB"},
		{12, 20, "reqps", "12 calls/s"},
		{2, 2, "none", "2"},
		{0, 4000, "none", "0"},
	} {
		if got := format(tt.v, tt.most, tt.unit); got != tt.want {
			t.Errorf("%v %s: got %q, want %q", tt.v, tt.unit, got, tt.want)
		}
	}
}

func TestNice_IsRoundAndHighEnough(t *testing.T) {
	t.Parallel()
	for most, want := range map[float64]float64{0: 1, 0.7: 0.8, 1: 1, 3.2: 4, 47: 50, 1100: 1250} {
		if top, tick := nice(most); math.Abs(top-want) > 1e-9 || top < most || math.Abs(top/tick-math.Round(top/tick)) > 1e-9 {
			t.Errorf("%v: top %v by %v, want %v", most, top, tick, want)
		}
	}
}
