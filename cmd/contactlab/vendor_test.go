package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestVendor_RunsUntilTheSignal(t *testing.T) {
	t.Parallel()
	s := serve(t, "vendor", "--listen", "127.0.0.1:0", "--account", "acc", "--secret", "of-the-file", "--requests", "1")
	if !strings.Contains(s.first, "variant page") {
		t.Fatalf("first line %q: %s", s.first, s.stderr.String())
	}
	base := strings.TrimSuffix(strings.Fields(s.first)[4], ",")
	if a, b := call(t, base), call(t, base); a != 200 || b != 429 {
		t.Errorf("answers %d and %d, want 200 and 429", a, b)
	}
	http.DefaultClient.CloseIdleConnections()
	rest := s.rest()
	for _, want := range []string{"200: 1, 429: 1", "complaints            1", "call 2, over: more than 1 requests of account acc"} {
		if !strings.Contains(rest, want) {
			t.Errorf("the output lacks %q:\n%s", want, rest)
		}
	}
}
