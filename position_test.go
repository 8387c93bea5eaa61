package contactsync

import (
	"strings"
	"testing"
)

func FuzzParsePosition(f *testing.F) {
	for _, seed := range []string{
		"contacts/3@70", "a/b/0@0", "t/2147483647@9223372036854775807", "t/2147483648@0", "t/0@9223372036854775808",
		"", "@", "/0@0", "t@0", "t/0", "t/-1@0", "t/0@-1", "t/+1@0", "t/01@007", "a@b/0@0", " t/0@0", "t/0@0 ",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePosition(text)
		if err != nil {
			if p != (Position{}) {
				t.Fatalf("%q: position %v beside the error %v", text, p, err)
			}
			if len(text) > 3 && strings.Contains(err.Error(), text) {
				t.Fatalf("the error repeats what it could not read: %v", err)
			}
			return
		}
		if p.Topic == "" || p.Partition < 0 || p.Offset < 0 || p.Generation != 0 {
			t.Fatalf("%q is read as %+v", text, p)
		}
		again, err := ParsePosition(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is read as %v, which is read as %v, %v", text, p, again, err)
		}
	})
}
