package upstream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestRouter(t *testing.T) {
	t.Parallel()
	r := NewRouter([]Account{
		{ID: "all", Streams: []string{"*"}},
		{ID: "st", Streams: []string{"st-*"}},
		{ID: "eu", Streams: []string{"st-eu-*", "other"}},
		{ID: "one", Streams: []string{"st-eu-7", "st-eu-?"}},
	})
	for range 2 { // the second time from memory
		for _, tt := range []struct{ stream, hint, want string }{
			{"x", "", "all"},
			{"st-1", "", "st"},
			{"st-eu-71", "", "eu"},
			{"st-eu-7", "", "one"},
			{"st-eu-8", "", "one"},
			{"other", "", "eu"},
			{"st-eu-7", "all", "all"},
			{"st-eu-7", "eu", "eu"},
			{"x", "eu", ""},
			{"x", "nobody", ""},
			{"a/b", "", ""}, // a wildcard stops at a slash
			{"", "", "all"},
		} {
			got, ok := r.Route(tt.stream, tt.hint)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("%q of %q: got %q, %v, want %q", tt.stream, tt.hint, got, ok, tt.want)
			}
		}
	}
}

func TestRouter_ExplainsWhoTakesAStream(t *testing.T) {
	t.Parallel()
	r := NewRouter([]Account{{ID: "all", Streams: []string{"*"}}, {ID: "st", Streams: []string{"other", "st-*", "st-1"}, Apps: []App{{Name: "many", Streams: []string{"st-*"}}, {Name: "one", Streams: []string{"st-1"}}}}})
	for stream, want := range map[string][]string{
		"x": {`stream x: account all, by "*" (upstream.accounts[0].streams[0])`, "  credentials: those of account all itself"},
		"st-1": {
			`stream st-1: account st, by "st-1" (upstream.accounts[1].streams[2])`,
			`  credentials: app one of account st, by "st-1" (upstream.accounts[1].apps[1].streams[0])`,
			`  also in "st-*" (upstream.accounts[1].apps[0].streams[0]) of app many, which is less specific`,
			`  also in "st-*" (upstream.accounts[1].streams[1]), which is less specific`,
			`  also in "*" (upstream.accounts[0].streams[0]), which is less specific: account all, for events that name it as accountId`,
			"  credentials: those of account all itself",
		},
		"../x": {`stream "../x": no name of a stream, so its events become dead letters (invalid)`},
	} {
		if got := r.Explain(stream); !slices.Equal(got, want) {
			t.Errorf("%s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if got := NewRouter(nil).Explain("x"); len(got) != 1 || got[0] != "stream x: no account takes it, so its events become dead letters (unmapped)" {
		t.Errorf("without accounts: %q", got)
	}
}

func TestRouter_MemoryIsBounded(t *testing.T) {
	t.Parallel()
	r := NewRouter([]Account{{ID: "all", Streams: []string{"*"}}})
	for i := range 3 * maxCachedRoutes {
		if got, ok := r.Route(fmt.Sprint("st-", i), ""); got != "all" || !ok {
			t.Fatalf("got %q", got)
		}
	}
	if len(r.cache) > maxCachedRoutes {
		t.Errorf("%d routes are kept", len(r.cache))
	}
}
