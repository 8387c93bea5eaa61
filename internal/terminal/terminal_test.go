package terminal

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/contactsync/contactsync/internal/lab/bounded"
)

func TestWriter_Escapes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "",
		"name\tJane Doe\n":               "name\tJane Doe\n",
		"Żółć 山田\u3000太郎 😀 é":            "Żółć 山田\u3000太郎 😀 é", // an ideographic space is one
		"a\x1b[2Jb":                      `a\u001b[2Jb`,
		"a\rb\x00\x07\x08":               `a\u000db\u0000\u0007\u0008`,
		"\x7f\u009b31m\u0085":            `\u007f\u009b31m\u0085`,
		"\u202egnp.exe\u2066\u200f":      `\u202egnp.exe\u2066\u200f`,
		"a\u2028b\u2029c\ufeffd\u00ade":  `a\u2028b\u2029c\ufeffd\u00ade`,
		"\U000e0041\U000f0000":           `\udb40\udc41\udb80\udc00`,
		"\x9b31m\xc3(\xed\xa0\x80":       `\ufffd31m\ufffd(\ufffd\ufffd\ufffd`,
		"the sign \ufffd of a lost rune": "the sign \ufffd of a lost rune",
	} {
		var out strings.Builder
		if n, err := NewWriter(&out).Write([]byte(text)); n != len(text) || err != nil || out.String() != want {
			t.Errorf("%q is written as %q (%d, %v), want %q", text, &out, n, err, want)
		}
	}
}

// Every rune of Unicode survives as JSON, and none that shows nothing is written as it is.
func TestWriter_JSONKeepsItsMeaning(t *testing.T) {
	t.Parallel()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		text, err := json.Marshal(string(r))
		if err != nil {
			t.Fatal(err)
		}
		got := escape(text)
		var back string
		if err := json.Unmarshal(got, &back); err != nil || back != string(r) {
			t.Fatalf("%U is written as %s and read as %q: %v", r, got, back, err)
		}
		if rest := strings.TrimFunc(string(got), unicode.IsGraphic); rest != "" {
			t.Fatalf("%U is written as %q", r, got)
		}
	}
}

func TestWriter_PassesAnErrorOn(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	_ = r.CloseWithError(errors.New("the reader has gone"))
	if n, err := NewWriter(w).Write([]byte("x")); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestWrap_BreaksAtBlanks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"nothing waits", 0, "nothing waits"},
		{"nothing waits", 13, "nothing waits"},
		{"nothing waits here", 13, "nothing waits\n  here"},
		{"Żółć Żółć Żółć", 9, "Żółć Żółć\n  Żółć"},
		{"a much-too-long-word b", 6, "a\n  much-too-long-word\n  b"},
		{"a b c d e", 5, "a b c\n  d e"},
		{"  1.0s  a b", 9, "  1.0s  a\n  b"},
		{"", 5, ""},
	} {
		if got := Wrap(tt.text, tt.width, "  "); got != tt.want {
			t.Errorf("%q in %d columns is %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

func TestIs_LooksBehindAWriter(t *testing.T) {
	t.Parallel()
	device, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0) // a new terminal
	if err != nil {
		t.Skip("no terminal can be had here")
	}
	defer device.Close()
	if !Is(NewWriter(device)) || !Is(device) {
		t.Error("a device is no terminal behind a Writer")
	}
	if Is(NewWriter(&strings.Builder{})) {
		t.Error("a buffer is a terminal")
	}
}

func FuzzWriter(f *testing.F) {
	f.Add([]byte("a\x1b[2J\u202e\xff"))
	f.Fuzz(func(t *testing.T, p []byte) {
		defer bounded.Within(t, 1<<20+100*len(p))()
		before := string(p)
		got := escape(p)
		if string(p) != before {
			t.Error("the caller's bytes were changed")
		}
		if len(got) > 6*len(p) || !utf8.Valid(got) {
			t.Errorf("%q is written as %q", p, got)
		}
		for _, r := range string(got) {
			if r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
				t.Errorf("%q is written as %q", p, got)
			}
		}
	})
}
