// Package terminal keeps text that came from outside from controlling the terminal that it
// is printed on. A Writer stands between a program and its output, so that no command and no
// log line can forget it.
package terminal

import (
	"fmt"
	"io"
	"os"
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

// Width returns how many columns a terminal has, and 0 where w is none.
func Width(w io.Writer) int {
	f := file(w)
	if f == nil {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Clear empties the screen of a terminal that can do so.
func Clear(w io.Writer) {
	if Is(w) && os.Getenv("TERM") != "dumb" {
		_, _ = io.WriteString(file(w), "\x1b[H\x1b[2J") // an error shows with what is printed next
	}
}

// file is what is behind w; nil where that is no file.
func file(w io.Writer) *os.File {
	if escaping, ok := w.(*Writer); ok {
		w = escaping.to
	}
	f, _ := w.(*os.File)
	return f
}
