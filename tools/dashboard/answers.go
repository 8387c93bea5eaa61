package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// answers are what a Prometheus answered to the queries of a dashboard over some time.
type answers struct {
	From, Step int64 // seconds
	Answers    map[uint32][][]struct {
		Metric map[string]string
		Values [][2]any // seconds, and a number as text
	}
}

func readAnswers(file string) (a answers, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(text, &a)
}

// line is a series as it is drawn: a value for each step, or NaN where there is none.
type line struct {
	name   string
	values []float64
}

// last is the last value, and whether there is one.
func (l line) last() (float64, bool) {
	for _, v := range slices.Backward(l.values) {
		if !math.IsNaN(v) {
			return v, true
		}
	}
	return 0, false
}

var placeholder = regexp.MustCompile(`\{\{(\w+)\}\}`)

// lines are the answers to the queries of a panel, in their order, and by name.
func (a answers) lines(p panel, id uint32, steps int) (all []line, err error) {
	for i, q := range p.queries {
		var lines []line
		if i >= len(a.Answers[id]) {
			return nil, fmt.Errorf("%s: query %d was not asked", p.title, i)
		}
		for _, s := range a.Answers[id][i] {
			l := line{values: make([]float64, steps), name: placeholder.ReplaceAllStringFunc(q.legend, func(found string) string {
				return s.Metric[found[2:len(found)-2]]
			})}
			for j := range l.values {
				l.values[j] = math.NaN()
			}
			for _, v := range s.Values {
				at, ok := v[0].(float64)
				value, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
				if err != nil || !ok {
					return nil, fmt.Errorf("%s: value %v", p.title, v)
				}
				if j := (int64(at) - a.From) / a.Step; j >= 0 && j < int64(steps) && !math.IsInf(value, 0) {
					l.values[j] = value
				}
			}
			lines = append(lines, l)
		}
		slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.name, b.name) })
		all = append(all, lines...)
	}
	return all, nil
}

// steps is how many there are, to the last value of all.
func (a answers) steps() int {
	last := a.From
	for _, queries := range a.Answers {
		for _, q := range queries {
			for _, s := range q {
				if n := len(s.Values); n > 0 {
					at, _ := s.Values[n-1][0].(float64)
					last = max(last, int64(at))
				}
			}
		}
	}
	return int((last-a.From)/a.Step) + 1
}

// scales are what values of a unit are counted in, from the size on at which that is easier
// to read.
var scales = map[string][]struct {
	from, by float64
	name     string
}{
	"s":           {{0, 0.001, " ms"}, {1, 1, " s"}, {120, 60, " min"}, {7200, 3600, " h"}, {172800, 86400, " d"}},
	"bytes":       {{0, 1, " B"}, {1 << 10, 1 << 10, " KiB"}, {1 << 20, 1 << 20, " MiB"}, {1 << 30, 1 << 30, " GiB"}},
	"percentunit": {{0, 0.01, " %"}},
	"cps":         {{0, 1, "/s"}, {1000, 1000, "k/s"}},
	"reqps":       {{0, 1, " calls/s"}},
	"":            {{0, 1, ""}, {1000, 1000, "k"}, {1e6, 1e6, "M"}},
}

// scale is what values up to one are counted in.
func scale(most float64, unit string) (by float64, name string) {
	all, ok := scales[unit]
	if !ok {
		all = scales[""]
	}
	for _, s := range all {
		if math.Abs(most) >= s.from {
			by, name = s.by, s.name
		}
	}
	return by, name
}

// format writes a value as one of those up to most, with three digits.
func format(v, most float64, unit string) string {
	by, name := scale(most, unit)
	v /= by
	digits := 0
	if v != 0 {
		digits = max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', digits, 64), 64)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	if rounded == 0 && unit != "s" {
		name = strings.TrimLeft(name, "kM")
	}
	return number(rounded) + name
}
