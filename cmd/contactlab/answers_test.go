package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/upstream"
)

// A row of the table that nothing plays would be a promise that nothing keeps.
func TestAnswersPlayed_CoverTheTable(t *testing.T) {
	t.Parallel()
	cases := answersPlayed("http://canary.test")
	names := map[string]bool{}
	for _, p := range cases {
		if names[p.name] {
			t.Errorf("%q is played twice: the stub could not tell which it was", p.name)
		}
		names[p.name] = true
		if !slices.ContainsFunc(upstream.Table(), func(r upstream.Rule) bool { return r.Condition == p.row }) {
			t.Errorf("%s: the table has no row %q", p.name, p.row)
		}
	}
	number := regexp.MustCompile(`\b[2-5]\d\d\b`)
	for _, row := range upstream.Table() {
		var played []string
		for _, p := range cases {
			if p.row != row.Condition {
				continue
			}
			played = append(played, p.name)
			if p.answer != nil {
				played = append(played, strconv.Itoa(max(200, p.answer.Status)))
			}
		}
		if len(played) == 0 {
			t.Errorf("row %q is not played", row.Condition)
		}
		for _, status := range number.FindAllString(row.Condition, -1) {
			if !slices.Contains(played, status) {
				t.Errorf("row %q: status %s is not played: %q", row.Condition, status, played)
			}
		}
	}
}

func smallProof(bug string) proveOptions {
	return proveOptions{small: true, root: "../..", bug: bug, limit: time.Minute}
}

func TestProveAnswers(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := proveAnswers(t.Context(), smallProof(""), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	all := len(upstream.Table())
	if text := out.String(); !strings.Contains(text, fmt.Sprintf("%d of %d rows of the table", all, all)) || !strings.Contains(text, " 0 wrong, 0 violations") {
		t.Errorf("the output:\n%s", text)
	}
}

func TestProveAnswers_CanFail(t *testing.T) {
	t.Parallel()
	o := smallProof("drop-on-error")
	o.only = "5" // 502 and others, which the bug touches; 405, which it does not
	var out strings.Builder
	err := proveAnswers(t.Context(), o, &out)
	if text := out.String(); !errors.Is(err, errProof) || !regexp.MustCompile(`(?m)^502, 504, 524 .*WRONG`).MatchString(text) || !strings.Contains(text, "I1") {
		t.Errorf("events dropped on an error were not missed: %v\n%s", err, text)
	}
	if !regexp.MustCompile(`(?m)^405 .* ok$`).MatchString(out.String()) {
		t.Errorf("a row that the bug does not touch fails:\n%s", &out)
	}
}
