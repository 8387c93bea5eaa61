package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Everything is drawn in pixels: a column of the dashboard is 50 wide, a unit of height 26 high.
const (
	column, unit = 50, 26
	gap          = 6
	small        = 11  // of most texts
	charWidth    = 6.3 // of a character of small text, about
)

// The colors that stand for Grafana's, dark enough for white text on them and for lines on white.
var shades = map[string]string{green: "#2e7d32", yellow: "#c79100", orange: "#d9730d", red: "#c4162a", blue: "#3565a8"}

var palette = []string{"#3274d9", "#d9730d", "#37872d", "#c4162a", "#8f3bb8", "#12858f", "#b5860d", "#6b7280", "#cf4f7c", "#5d4037"}

// draw writes a picture of each row, from what a Prometheus has answered.
func (r rules) draw(a answers, dir string) error {
	steps, id := a.steps(), uint32(1)
	for _, row := range rows {
		s := &sheet{rules: r, steps: steps, seconds: float64(a.Step) * float64(steps-1)}
		x, y, height := uint32(0), uint32(0), uint32(0)
		for i, p := range row.panels {
			lines, err := a.lines(p, id+uint32(i)+1, steps)
			if err != nil {
				return err
			}
			s.panel(p, lines, float64(x*column), float64(y*unit))
			height = y + p.h
			if x += p.w; x >= 24 {
				x, y = 0, y+p.h
			}
		}
		id += uint32(len(row.panels)) + 1
		if err := os.WriteFile(filepath.Join(dir, picture(row)), []byte(s.document(row.title, 24*column, int(height*unit))), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// picture is the name of a row's picture.
func picture(row row) string {
	words := strings.Fields(regexp.MustCompile(`[^a-z ]`).ReplaceAllString(strings.ToLower(row.title), ""))
	return strings.Join(words[:min(3, len(words))], "-") + ".svg"
}

// sheet is a picture that is being drawn.
type sheet struct {
	strings.Builder
	rules   rules
	steps   int
	seconds float64
}

func (s *sheet) add(format string, args ...any) { fmt.Fprintf(s, format, args...) }

func escape(text string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(text)); err != nil {
		panic("BUG: " + err.Error()) // a builder takes everything
	}
	return b.String()
}

func (s *sheet) document(title string, width, height int) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="sans-serif" font-size="%d" fill="#24292e">
<title>%s</title>
<rect width="%d" height="%d" fill="#f4f5f5"/>
%s</svg>
`, width, height, width, height, small, escape(title), width, height, s.String())
}

func (s *sheet) text(x, y float64, text, attributes string) {
	s.add("<text x=\"%s\" y=\"%s\"%s>%s</text>\n", px(x), px(y), attributes, escape(text))
}

func px(v float64) string { return number(math.Round(v)) }

// box is where something is drawn.
type box struct{ x, y, w, h float64 }

func (s *sheet) panel(p panel, lines []line, x, y float64) {
	b := box{x + gap/2, y + gap/2, float64(p.w*column) - gap, float64(p.h*unit) - gap}
	s.add("<g>\n<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" rx=\"3\" fill=\"#fff\" stroke=\"#d8d9da\"/>\n", px(b.x), px(b.y), px(b.w), px(b.h))
	size, room := 13, int(b.w-16)/7
	if len(p.title) > room {
		size = 11
	}
	s.text(b.x+8, b.y+18, p.title, fmt.Sprintf(` font-size="%d" font-weight="600"`, size))
	inner := box{b.x + 8, b.y + 26, b.w - 16, b.h - 34}
	switch {
	case len(lines) == 0:
		s.text(inner.x+inner.w/2, inner.y+inner.h/2, p.none, ` text-anchor="middle" fill="#6b7280"`)
	case p.kind == stats:
		s.stats(p, lines, inner)
	case p.kind == states:
		s.states(p, lines, inner)
	default:
		s.graph(p, lines, inner)
	}
	s.add("</g>\n")
}

// shade is the color and the text for a value.
func (s *sheet) shade(p panel, v float64) (color, text string) {
	for i, step := range s.rules.steps(p) {
		if i == 0 || v >= *step.Value {
			color = shades[step.Color]
		}
	}
	for _, t := range p.texts {
		if v >= t.from {
			text = t.text
		}
	}
	return color, text
}

func (s *sheet) stats(p panel, lines []line, b box) {
	w := b.w / float64(len(lines))
	for i, l := range lines {
		v, ok := l.last()
		color, text := s.shade(p, v)
		switch {
		case !ok:
			color, text = shades[blue], p.none
		case text == "":
			text = format(v, v, p.unit)
		}
		x := b.x + w*float64(i)
		s.add("<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" fill=\"%s\"/>\n", px(x), px(b.y), px(w), px(b.h), color)
		size, middle := 26, b.y+b.h/2+9
		if len(text) > 10 {
			size = 18
		}
		if len(lines) > 1 {
			s.text(x+w/2, b.y+16, l.name, ` text-anchor="middle" fill="#fff"`)
			middle += 6
		}
		s.text(x+w/2, middle, text, fmt.Sprintf(` text-anchor="middle" fill="#fff" font-size="%d" font-weight="600"`, size))
	}
}

// states draws a lane for each series, and what the colors mean.
func (s *sheet) states(p panel, lines []line, b box) {
	widest := 0
	for _, l := range lines {
		widest = max(widest, len(l.name))
	}
	names := min(float64(widest)*charWidth+8, b.w/2)
	plot := box{b.x + names, b.y, b.w - names, b.h - 30}
	lane := min(plot.h/float64(len(lines)), 26)
	plot.h = lane * float64(len(lines))
	for i, l := range lines {
		top := plot.y + lane*float64(i)
		s.text(b.x, top+lane/2+4, l.name, "")
		for from := 0; from < len(l.values); {
			if math.IsNaN(l.values[from]) {
				from++
				continue
			}
			color, text := s.shade(p, l.values[from])
			to := from + 1
			for ; to < len(l.values) && !math.IsNaN(l.values[to]); to++ {
				if _, other := s.shade(p, l.values[to]); other != text {
					break
				}
			}
			step := plot.w / float64(len(l.values))
			x := math.Round(plot.x + step*float64(from))
			s.add("<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" fill=\"%s\"/>\n", px(x), px(top+2), px(math.Round(plot.x+step*float64(to))-x), px(lane-4), color)
			from = to
		}
	}
	s.minutes(plot)
	x := plot.x
	for _, t := range p.texts {
		if t.text == "" {
			continue
		}
		s.swatch(x, plot.y+plot.h+30, shades[t.color], t.text)
		x += float64(len(t.text))*charWidth + 26
	}
}

func (s *sheet) swatch(x, y float64, color, text string) {
	s.add("<rect x=\"%s\" y=\"%s\" width=\"10\" height=\"4\" fill=\"%s\"/>\n", px(x), px(y-6), color)
	s.text(x+14, y, text, "")
}

// minutes draws the axis of time below a plot.
func (s *sheet) minutes(plot box) {
	for at := 0.0; at <= s.seconds; at += 60 {
		x := plot.x + plot.w*at/s.seconds
		s.add("<path d=\"M%s %sv4\" stroke=\"#9aa0a6\"/>\n", px(x), px(plot.y+plot.h))
		anchor := "middle"
		if plot.x+plot.w-x < 20 {
			anchor = "end"
		}
		s.text(x, plot.y+plot.h+14, number(at/60)+" min", fmt.Sprintf(` text-anchor="%s" fill="#6b7280" font-size="10"`, anchor))
	}
}

// legend draws the names below, in as many lines as they take, three at most, and returns
// how high that is.
func (s *sheet) legend(lines []line, b box) float64 {
	type entry struct{ x, line, i int }
	var entries []entry
	x, n, left := 0, 0, 0
	for i, l := range lines {
		w := int(float64(len(l.name))*charWidth) + 26
		if x > 0 && x+w > int(b.w) {
			x, n = 0, n+1
		}
		if n > 2 {
			left = len(lines) - i
			break
		}
		entries = append(entries, entry{x, n, i})
		x += w
	}
	rows := min(n, 2)
	for _, e := range entries {
		y := b.y + b.h - float64((rows-e.line)*14)
		name := lines[e.i].name
		if left > 0 && e == entries[len(entries)-1] {
			name = fmt.Sprintf("%s, and %d more", name, left)
		}
		s.swatch(b.x+float64(e.x), y, palette[e.i%len(palette)], name)
	}
	return float64(rows+1) * 14
}

func (s *sheet) graph(p panel, lines []line, b box) {
	below := s.legend(lines, b) + 22
	plot := box{b.x + 58, b.y + 4, b.w - 62, b.h - below - 4}
	if p.stack {
		lines = stacked(lines)
	}
	top := highest(lines)
	for _, step := range p.steps {
		if v := s.rules.value(step); v <= 2*top {
			top = max(top, v*1.1)
		}
	}
	by, _ := scale(top, p.unit)
	top, tick := nice(top / by)
	top, tick = top*by, tick*by
	for v := 0.0; v <= top*1.001; v += tick {
		y := plot.y + plot.h*(1-v/top)
		s.add("<path d=\"M%s %sh%s\" stroke=\"#e6e7e8\"/>\n", px(plot.x), px(y), px(plot.w))
		s.text(plot.x-5, y+4, format(v, top, p.unit), ` text-anchor="end" fill="#6b7280" font-size="10"`)
	}
	s.minutes(plot)
	at := func(i int, v float64) string {
		return px(plot.x+plot.w*float64(i)/float64(max(s.steps-1, 1))) + " " + px(plot.y+plot.h*(1-min(v, top)/top))
	}
	for i, l := range slices.Backward(lines) { // the first lies on top, as it does in a stack
		color := palette[i%len(palette)]
		if p.stack {
			s.add("<path d=\"%s\" fill=\"%s\"/>\n", area(l.values, at), color)
			continue
		}
		s.add("<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", path(l.values, at), color)
	}
	for _, step := range p.steps {
		if v := s.rules.value(step); v <= top {
			y := plot.y + plot.h*(1-v/top)
			s.add("<path d=\"M%s %sh%s\" stroke=\"%s\" stroke-dasharray=\"6 4\"/>\n", px(plot.x), px(y), px(plot.w), shades[step.color])
		}
	}
}

// stacked adds to each series those before it; one that is not there adds nothing.
func stacked(lines []line) []line {
	all := make([]line, len(lines))
	for i, l := range lines {
		all[i] = line{l.name, append([]float64{}, l.values...)}
		for j, v := range l.values {
			below := 0.0
			if i > 0 && !math.IsNaN(all[i-1].values[j]) {
				below = all[i-1].values[j]
			}
			if math.IsNaN(v) {
				v = 0
			}
			all[i].values[j] = below + v
		}
	}
	return all
}

func highest(lines []line) (most float64) {
	for _, l := range lines {
		for _, v := range l.values {
			if v > most { // not one that is not there
				most = v
			}
		}
	}
	return most
}

// nice is a round number that is at least as high, and the distance of lines below it.
func nice(most float64) (top, tick float64) {
	if most <= 0 {
		return 1, 0.5
	}
	tick = math.Pow(10, math.Floor(math.Log10(most)))
	for _, part := range []float64{0.2, 0.25, 0.5, 1, 2} {
		if n := math.Ceil(most / (tick * part)); n <= 5 {
			return n * tick * part, tick * part
		}
	}
	return 10 * tick, 2 * tick
}

// path is a line through values, broken where there is none, and straight over those between
// two that lie on it.
func path(values []float64, at func(int, float64) string) string {
	var b strings.Builder
	pen := "M"
	for i, v := range values {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		if pen == "L" && i+1 < len(values) && v == values[i-1] && v == values[i+1] {
			continue
		}
		b.WriteString(pen + at(i, v))
		pen = "L"
	}
	return b.String()
}

func area(values []float64, at func(int, float64) string) string {
	return path(values, at) + "L" + at(len(values)-1, 0) + "L" + at(0, 0) + "Z"
}
