package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/stub"
)

func TestProvePoison(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := provePoison(t.Context(), smallProof(""), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if text := out.String(); !strings.Contains(text, "0 violations; ") || !strings.Contains(text, " 0 lost") {
		t.Errorf("the output:\n%s", text)
	}
}

func TestProvePoison_CanFail(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := provePoison(t.Context(), smallProof("trust-status"), &out)
	if text := out.String(); !errors.Is(err, errProof) || !strings.Contains(text, "VIOLATION  I1") || !strings.Contains(text, "VIOLATION  dead letters: rejected") {
		t.Errorf("refused rows that were taken for delivered were not missed: %v\n%s", err, text)
	}
}

// Every bad event and answer of the corpora must have an end that is known.
func TestCorpora(t *testing.T) {
	t.Parallel()
	events, answers, err := corpora("../..")
	if err != nil || len(events) < 60 || len(answers) < 40 {
		t.Fatalf("%d events, %d answers, %v", len(events), len(answers), err)
	}
	ends := map[string]int{}
	for _, a := range answers {
		cfg := stub.DefaultConfig()
		cfg.Scenario.Rules = []stub.Rule{a.rule()}
		if _, err := stub.New(cfg); err != nil { // a small proof plays only some
			t.Errorf("the stub cannot play it: %v", err)
		}
		for row := range a.Rows {
			ends[string(a.ends(row))]++
		}
	}
	for _, reason := range []string{"", "rejected", "bad_request", "too_large"} {
		if ends[reason] == 0 {
			t.Errorf("no row of any bad answer ends as %q: %v", reason, ends)
		}
	}
	if _, _, err := corpora(t.TempDir()); err == nil || !strings.Contains(err.Error(), "--root") {
		t.Errorf("a missing corpus: %v", err)
	}
}

// sent is a call of one stream with rows a, b, c, ...
func sent(at int64, rule, rows string) stub.Call {
	c := stub.Call{Stream: "s", Received: at, Rule: rule}
	for _, r := range rows {
		id := string(r)
		if r == 'X' || r == 'Y' {
			id = fmt.Sprintf("q400-%c", r)
		}
		c.Rows = append(c.Rows, stub.Row{ID: id})
	}
	return c
}

func TestHunts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		calls []stub.Call
		want  string // for each: calls/most
	}{
		{"nothing refused", []stub.Call{sent(1, "", "abcd")}, ""},
		{"alone at once", []stub.Call{sent(1, "q400", "X"), sent(2, "", "a")}, "0/0"},
		{"halved", []stub.Call{
			sent(1, "q400", "abcX"), sent(2, "", "ab"), sent(3, "", "efgh"), sent(4, "", "c"), sent(5, "q400", "X"), sent(6, "", "abc"),
		}, "3/4"},
		{"a healthy half comes last", []stub.Call{
			sent(1, "q400", "Xabc"), sent(2, "q400", "Xa"), sent(3, "q400", "X"), sent(5, "", "bc"), sent(4, "", "a"), sent(6, "", "b"),
		}, "4/4"},
		{"two bad rows", []stub.Call{
			sent(1, "q400", "XYab"), sent(2, "q400", "XY"), sent(3, "q400", "X"), sent(4, "q400", "Y"), sent(5, "", "ab"),
		}, "4/8"},
		{"one by one costs too much", []stub.Call{
			sent(1, "q400", "abcdefX"), sent(2, "", "a"), sent(3, "", "b"), sent(4, "", "c"), sent(5, "", "d"), sent(6, "", "e"),
			sent(7, "", "f"), sent(8, "q400", "X"),
		}, "7/6"},
		{"the same again and again", []stub.Call{
			sent(1, "q400", "aX"), sent(2, "q400", "aX"), sent(3, "q400", "aX"), sent(4, "", "a"), sent(5, "q400", "X"),
		}, "4/2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, h := range hunts(tt.calls) {
				got = append(got, fmt.Sprintf("%d/%d", h.calls, h.most()))
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}
