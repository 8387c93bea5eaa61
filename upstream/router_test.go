package upstream

import (
	"fmt"
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
			{"st-eu-8", "", "eu"}, // both begin alike and are as long: by the text
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
