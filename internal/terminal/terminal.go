// Package terminal keeps text that came from outside from controlling the terminal that it
// is printed on. A Writer stands between a program and its output, so that no command and no
// log line can forget it.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// Writer writes text with every rune escaped that shows nothing: controls other than line
// feed and tab, format characters such as those that turn the direction of writing, line
// separators, private and unassigned code points, and bytes that are not UTF-8.
//
// The escapes are those of JSON, so JSON stays JSON with the same meaning: what needs one
// can be in its strings only. A byte that is not UTF-8 becomes the escape of U+FFFD.
type Writer struct{ to io.Writer }

// NewWriter returns a Writer to w. Each Write must end with a whole rune.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// Write writes p escaped.
func (w *Writer) Write(p []byte) (int, error) {
	if _, err := w.to.Write(escape(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// escape returns p itself where nothing in it needs an escape.
func escape(p []byte) []byte {
	var out []byte
	done := 0 // of p, in out
	for i := 0; i < len(p); {
		r, size := utf8.DecodeRune(p[i:])
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) && (r != utf8.RuneError || size > 1) {
			i += size
			continue
		}
		out = append(out, p[done:i]...)
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
		i += size
		done = i
	}
	if done == 0 {
		return p
	}
	return append(out, p[done:]...)
}

// Is reports whether w, or what is behind it where it is a Writer, is a terminal.
func Is(w io.Writer) bool {
	f := file(w)
	return f != nil && term.IsTerminal(int(f.Fd()))
}

// Redraws reports whether w is a terminal on which what was printed can be replaced.
func Redraws(w io.Writer) bool { return Is(w) && os.Getenv("TERM") != "dumb" }

// Size returns how many columns and lines a terminal has, and 0 where w is none.
func Size(w io.Writer) (width, height int) {
	f := file(w)
	if f == nil {
		return 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// Width returns how many columns a terminal has, and 0 where w is none.
func Width(w io.Writer) int {
	width, _ := Size(w)
	return width
}

// Clear empties the screen of a terminal that can do so.
func Clear(w io.Writer) {
	if Redraws(w) {
		_, _ = io.WriteString(file(w), "\x1b[H\x1b[2J") // an error shows with what is printed next
	}
}

// Wrap breaks a text at blanks so that no line has more than width columns, but for words that
// are longer. Lines after the first begin with indent. A width of 0 is no bound.
func Wrap(text string, width int, indent string) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	column := 0
	for i, word := range strings.Split(text, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case column > 0 && column+1+n > width:
			b.WriteString("\n" + indent)
			column = utf8.RuneCountInString(indent)
		case i > 0:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// file is what is behind w; nil where that is no file.
func file(w io.Writer) *os.File {
	if escaping, ok := w.(*Writer); ok {
		w = escaping.to
	}
	f, _ := w.(*os.File)
	return f
}
