package upstream

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/bounded"
)

// own returns patterns of the form owner:text.
func own(texts ...string) []pattern {
	var all []pattern
	for i, text := range texts {
		owner, text, _ := strings.Cut(text, ":")
		all = append(all, pattern{text, fmt.Sprintf("accounts[%s].streams[%d]", owner, i), owner})
	}
	return all
}

func TestConflicts_PatternsWithoutAWinner(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		patterns string
		want     string // the streams for which nobody wins
	}{
		{"a:* b:st-* c:st-eu-* c:other b:st-eu-7 a:st-eu-?", ""},
		{"a:*-eu b:*-eu*", ""}, // the first is within the second, which has the longer text
		{"a:* b:*", "a"},
		{"a:* b:**", "a"},
		{`a:st-? b:st-[a-zA-Z0-9_\-]`, "st-a"},
		{"a:st-1 b:st-1", "st-1"},
		{"a:st-* a:*-eu", ""}, // of one account
		{"a:st-* b:*-eu", "st-eu"},
		{"a:st-* b:*-eu c:st-*-eu", "st-eu"},      // which the third does not take
		{"a:st-* b:*-eu c:st-*eu", "st-eu st-eu"}, // which takes more than both do
		{"a:st-* b:*-eu c:st-*-eu a:st-eu", ""},
		{"a:[ab]x b:[bc]x", "bx"},
		{"a:[ab]x b:[bc]x a:bx", ""},
		{"a:[ab]x b:[^a]x", "bx"},
		{"a:[a-c]x b:[d-z]x", ""},
		{`a:\a* b:*b`, "ab"},
		{"a:st-*-eu-* b:st-*-us-*", "st--eu-us-"},
		{"a:x?? b:?x?", "xxa"},
		{"a:st- b:st-*", ""},
		{"a:*é b:é*", ""}, // no name has such letters
	} {
		var streams []string
		for _, c := range conflicts(own(strings.Fields(tt.patterns)...)) {
			streams = append(streams, c.stream)
		}
		if got := strings.Join(streams, " "); got != tt.want {
			t.Errorf("%s: nobody wins for %q, want %q", tt.patterns, got, tt.want)
		}
	}
}

// What is said of patterns holds of names.
func TestExampleName_AgreesWithMatching(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	pick := func() string {
		var text strings.Builder
		for range 1 + random.IntN(4) {
			text.WriteString([]string{"a", "b", "*", "?", "[ab]", "[^a]", `\b`}[random.IntN(7)])
		}
		return text.String()
	}
	var names []string
	for length := 1; length <= 5; length++ {
		for n := range 1 << (2 * length) {
			name := make([]byte, length)
			for i := range name {
				name[i] = "abcd"[n>>(2*i)&3]
			}
			names = append(names, string(name))
		}
	}
	for range 300 {
		taken, refused := []string{pick(), pick()}, []string{pick()}
		fits := func(name string) bool {
			is := func(p string) bool { ok, err := path.Match(p, name); return ok && err == nil }
			return is(taken[0]) && is(taken[1]) && !is(refused[0])
		}
		got, sure := exampleName([]glob{parseGlob(taken[0]), parseGlob(taken[1])}, []glob{parseGlob(refused[0])})
		switch {
		case !sure:
			t.Errorf("%q without %q: not sure", taken, refused)
		case got != "" && !fits(got):
			t.Errorf("%q without %q: %q is no such name", taken, refused, got)
		case got == "" && slices.ContainsFunc(names, fits):
			t.Errorf("%q without %q: there is %q", taken, refused, names[slices.IndexFunc(names, fits)])
		}
	}
}

// Patterns that were made for it cost a bounded search.
func TestConflicts_AreBounded(t *testing.T) {
	t.Parallel()
	hard := "*a" + strings.Repeat("?", 40)
	if c := conflicts(own("a:"+hard, "b:*b"+strings.Repeat("?", 40))); len(c) != 1 || c[0].stream != "" {
		t.Errorf("conflicts %+v, want one that cannot be told", c)
	}
	var many []pattern
	for i := range 2000 {
		many = append(many, own(fmt.Sprintf("%d:tenant-%d-*", i, i), fmt.Sprintf("%d:name-%d", i, i))...)
	}
	if c := conflicts(append(many, own("all:*")...)); len(c) != 0 {
		t.Errorf("conflicts %+v", c)
	}
}

// TestRouter_ManyPatternsAreComparedInNoTime: each is compared with each other one, before the service starts. It is
// not parallel: it counts the processor time of the process.
func TestRouter_ManyPatternsAreComparedInNoTime(t *testing.T) { //nolint:paralleltest // see above
	a, b := Account{ID: "a"}, Account{ID: "b", Streams: []string{"zz*"}}
	for i := range 400 {
		a.Streams = append(a.Streams, fmt.Sprintf("*a%d*", i))
	}
	defer bounded.Within(t, 1<<30)()
	if found := conflicts(streamPatterns([]Account{a, b})); len(found) != len(a.Streams) { // zza0 could be of both
		t.Errorf("%d conflicts", len(found))
	}
	if account, ok := NewRouter([]Account{a}).Route("xa399", ""); !ok || account != "a" {
		t.Errorf("account %q", account)
	}
}
