package leak

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/text/unicode/norm"
)

// noise is what a program writes, with numbers and dumps of its own.
const noise = `{"time":"2026-01-12T08:22:56.321Z","level":"WARN","msg":"requests fail","account":"acme","bytes":4411,"text":"a3f91c02"}` +
	"\ngoroutine 17 [select, 2 minutes]:\nmain.run(0xc000123456, {0xc0004f2000, 0x1f, 0x20}) +0x1d2\n" +
	"contactsync_rows_total{account=\"acme\"} 1.7682e+09\nZm9vYmFyYmF6cXV4 deadbeef00112233445566778899 [102 111 111 98 97 114 33 33]\n%41%42 &amp; \\u00e9 \n"

func utf16Of(text string, high int) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		pair := []byte{byte(unit), byte(unit)}
		pair[high], pair[1-high] = byte(unit>>8), byte(unit)
		b = append(b, pair...)
	}
	return string(b)
}

func inJSON(text string) string {
	quoted, _ := json.Marshal(text) // of a string: it cannot fail
	return string(quoted)
}

func each(format string, text string) string {
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, format, r)
	}
	return b.String()
}

func eachByte(format string, text string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, format, text[i])
	}
	return b.String()
}

// writers write a text in one way each, by Go's libraries where these have it.
var writers = map[string]func(string) string{
	"raw":                func(s string) string { return s },
	"NFD":                norm.NFD.String,
	"upper case":         strings.ToUpper,
	"JSON":               inJSON,
	`JSON \u`:            func(s string) string { return each(`\u%04x`, s) },
	"JSON in JSON":       func(s string) string { return inJSON(inJSON(s)) },
	"%q":                 func(s string) string { return fmt.Sprintf("%q", s) },
	"%+q":                func(s string) string { return fmt.Sprintf("%+q", s) },
	"%q of %+q":          func(s string) string { return fmt.Sprintf("%q", fmt.Sprintf("%+q", s)) },
	`\U`:                 func(s string) string { return each(`\U%08X`, s) },
	`\x`:                 func(s string) string { return eachByte(`\x%02X`, s) },
	"octal":              func(s string) string { return eachByte(`\%03o`, s) },
	"HTML":               html.EscapeString,
	"HTML, decimal":      func(s string) string { return each("&#%d;", s) },
	"HTML, hexadecimal":  func(s string) string { return each("&#x%X;", s) },
	"query":              url.QueryEscape,
	"path":               url.PathEscape,
	"each byte with %":   func(s string) string { return eachByte("%%%02x", s) },
	"hex":                func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex of more":        func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(" " + s + "\x0f"))) },
	"hex from the half":  func(s string) string { return "a" + hex.EncodeToString([]byte(s)) },
	"% x":                func(s string) string { return fmt.Sprintf("% x", s) },
	"%#v of bytes":       func(s string) string { return fmt.Sprintf("%#v", []byte(s)) },
	"%d of bytes":        func(s string) string { return fmt.Sprintf("%d", []byte(s)) },
	"JSON of bytes":      func(s string) string { return inJSON(base64.StdEncoding.EncodeToString([]byte(s))) },
	"base64, one before": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x" + s + "yz")) },
	"base64, two before": func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte("xy" + s + "z")) },
	"base64 in a word":   func(s string) string { return "ab" + base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64url":          func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
	"base64url, shifted": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("user:" + s)) },
	"UTF-16LE":           func(s string) string { return utf16Of(s, 1) },
	"UTF-16BE":           func(s string) string { return utf16Of(s, 0) },
}

func TestSearch_FindsEachTextInEachEncoding(t *testing.T) {
	t.Parallel()
	for name, write := range writers {
		by := map[string]int{}
		for _, pad := range []string{"", " "} { // at even and odd places
			var b strings.Builder
			b.WriteString(noise + pad)
			for i, text := range Planted() {
				b.WriteString("\n" + pad + write(text) + "\n")
				if i%10 == 0 {
					b.WriteString(noise)
				}
			}
			found := Search([]byte(b.String()))
			var texts []string
			for _, f := range found {
				texts = append(texts, f.Text)
				by[f.Encoding]++
			}
			for _, text := range Planted() {
				if !slices.Contains(texts, text) {
					t.Errorf("%s: %q is not found as %.60q", name, text, write(text))
				}
			}
			if len(found) != len(Planted()) {
				t.Errorf("%s: found %d texts", name, len(found))
			}
		}
		t.Logf("%-20s %v", name, by)
	}
}

// A number that is punctuated in another way is the same number.
func TestSearch_FindsNumbersByTheirDigits(t *testing.T) {
	t.Parallel()
	n := 0
	for _, planted := range needles() {
		if planted.digits == nil {
			continue
		}
		n++
		d := string(planted.digits)
		arabic := strings.Map(func(r rune) rune { return '٠' + r - '0' }, d)
		for _, text := range []string{"tel=" + d, "00" + d, "(" + d[:5] + ") " + d[5:] + "!", d[:7] + "." + d[7:9] + "\u00a0" + d[9:], arabic} {
			if found := Search([]byte(noise + text + noise)); len(found) != 1 || found[0].Text != planted.planted {
				t.Errorf("%q in %q: found %v", planted.planted, text, found)
			}
		}
	}
	if n != perForm*len(forms) {
		t.Errorf("%d numbers", n)
	}
}

func TestSearch_FindsNothingThatWasNotPlanted(t *testing.T) {
	t.Parallel()
	text := []byte(noise)
	for _, pattern := range []string{"../../../docs/*.md", "../../../go.sum", "../../../batcher/*.go", "../../event/testdata/*/*/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			more, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, more...)
		}
	}
	if found := Search(text); len(found) != 0 {
		t.Errorf("in %d bytes: %v", len(text), found)
	}
}

func TestPlanted_AreTwoHundredTexts(t *testing.T) {
	t.Parallel()
	all := slices.Clone(Planted())
	slices.Sort(all)
	if n := len(slices.Compact(slices.Clone(all))); n != 200 {
		t.Errorf("%d texts", n)
	}
	for i, text := range all {
		if len(text) < 12 {
			t.Errorf("%q is short enough to occur by chance", text)
		}
		for j, other := range all {
			if i != j && strings.Contains(other, text) {
				t.Errorf("%q is in %q", text, other)
			}
		}
	}
	if len(Encodings()) < 8 {
		t.Errorf("encodings: %q", Encodings())
	}
}
