package contactsync_test

import (
	"regexp"
	"strings"
	"testing"

	"contactsync"
)

func TestIsName(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(contactsync.NamePattern)
	names := []string{
		"st-7dc994f0-4436-5134-9fa8-a942625a1b2c", "6964af60450340957c61a2b3", "_", "-", "Z", strings.Repeat("a", 64),
		"", ".", "..", "../a", "a/b", `a\b`, "a?b", "a#b", "a;b", "%2e%2e", "a%2fb", "a b", "a\r\nb", "a\n", "\na", "a\tb", "a\x00b", "a\x7f",
		"․․", "⁄a", "a\ufeff", "café", "a.b", "a:b", "a@b", strings.Repeat("a", 65),
	}
	for c := range 256 { // each byte, alone
		names = append(names, string([]byte{byte(c)}))
	}
	for _, name := range names {
		if want := pattern.MatchString(name); contactsync.IsName(name) != want || contactsync.IsName([]byte(name)) != want {
			t.Errorf("%q is a name: want %v", name, want)
		}
	}
}
