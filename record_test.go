package contactsync

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/bounded"
)

func FuzzParsePosition(f *testing.F) {
	for _, seed := range []string{
		"contacts/3@70", "a/b/0@0", "t/2147483647@9223372036854775807", "t/2147483648@0", "t/0@9223372036854775808",
		"", "@", "/0@0", "t@0", "t/0", "t/-1@0", "t/0@-1", "t/+1@0", "t/01@007", "a@b/0@0", " t/0@0", "t/0@0 ",
	} {
		f.Add(seed)
	}
	refusals := []string{ // all that it may say: nothing of the text, which may be a contact's name on the command line
		"read position: a part is missing: want topic/partition@offset",
		"read position: the partition is not a number: want topic/partition@offset",
		"read position: the offset is not a number: want topic/partition@offset",
	}
	f.Fuzz(func(t *testing.T, text string) {
		defer bounded.Within(t, 1<<20+100*len(text))()
		p, err := ParsePosition(text)
		if err != nil {
			if p != (Position{}) {
				t.Fatalf("%q: position %v beside the error %v", text, p, err)
			}
			if !slices.Contains(refusals, err.Error()) {
				t.Fatalf("%q: the error may repeat what it could not read: %v", text, err)
			}
			return
		}
		if p.Topic == "" || p.Partition < 0 || p.Offset < 0 {
			t.Fatalf("%q is read as %+v", text, p)
		}
		again, err := ParsePosition(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is read as %v, which is read as %v, %v", text, p, again, err)
		}
	})
}

func TestIsName(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(NamePattern)
	names := []string{
		"st-7dc994f0-4436-5134-9fa8-a942625a1b2c", "6964af60450340957c61a2b3", "_", "-", "Z", strings.Repeat("a", 64),
		"", ".", "..", "../a", "a/b", `a\b`, "a?b", "a#b", "a;b", "%2e%2e", "a%2fb", "a b", "a\r\nb", "a\n", "\na", "a\tb", "a\x00b", "a\x7f",
		"․․", "⁄a", "a\ufeff", "café", "a.b", "a:b", "a@b", strings.Repeat("a", 65),
	}
	for c := range 256 { // each byte, alone
		names = append(names, string([]byte{byte(c)}))
	}
	for _, name := range names {
		if want := pattern.MatchString(name); IsName(name) != want || IsName([]byte(name)) != want {
			t.Errorf("%q is a name: want %v", name, want)
		}
	}
}

func TestFoldID(t *testing.T) {
	t.Parallel()
	const lower = "6964af60450340957c61a2b3"
	for id, want := range map[string]string{
		lower: lower, strings.ToUpper(lower): lower, "6964aF60450340957c61a2b3": lower, "6964af60450340957c61a2B3": lower,
		"6964AF60450340957C61A2B": "6964AF60450340957C61A2B", "6964AF60450340957C61A2B34": "6964AF60450340957C61A2B34",
		"6964AF60450340957C61A2BG": "6964AF60450340957C61A2BG", "6964AF60450340957C61A2_3": "6964AF60450340957C61A2_3",
		"zz64af60450340957c61a2b3": "zz64af60450340957c61a2b3", "Abc": "Abc", "": "",
	} {
		if got := FoldID(id); got != want {
			t.Errorf("%q is folded to %q, want %q", id, got, want)
		}
	}
	for i := range len(lower) { // in any place
		for _, c := range "ABCDEF" {
			id := lower[:i] + string(c) + lower[i+1:]
			if got := FoldID(id); got != strings.ToLower(id) {
				t.Errorf("%q is folded to %q", id, got)
			}
		}
	}
}
