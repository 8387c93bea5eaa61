package main

import (
	"strings"
	"testing"
)

// The lists are kept in step with the code: a bug whose text is gone plants nothing.
func TestLists_MatchTheCode(t *testing.T) {
	t.Parallel()
	all, err := load(".", "../..")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	names := map[string]bool{}
	for _, m := range all {
		count[m.dir()]++
		if names[m.name] {
			t.Errorf("two bugs are named %q", m.name)
		}
		names[m.name] = true
	}
	for _, dir := range []string{
		"batcher", "consumer", "upstream", "internal/app", "internal/deadletter", "internal/event", "internal/kafka", "internal/replay",
	} {
		if count[dir] < 5 {
			t.Errorf("%d bugs are planted in %s, at least five are wanted", count[dir], dir)
		}
	}
	if len(all) < 60 {
		t.Errorf("%d bugs are planted, at least 60 are wanted", len(all))
	}
}

func TestParse_RefusesWhatPlantsNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"no change":   {"=== a\nfile: x.go\n<<<\nold\n---\nold\n>>>\n", "line 7: the bug changes nothing"},
		"no file":     {"=== a\n<<<\nold\n---\nnew\n>>>\n", "line 2: the entry names no file"},
		"no end":      {"=== a\nfile: x.go\n<<<\nold\n---\nnew\n", `the entry "a" does not end`},
		"no begin":    {"file: x.go\n", "line 1: an entry begins with ==="},
		"unknown key": {"=== a\nfiles: x.go\n", `line 2: unexpected "files: x.go"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(test.text); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	all, err := parse("# a comment\n\n=== first\nfile: b/y.go\npackages: ./b ./c\n<<<\n\tone\n\ttwo\n---\n\tthree\n>>>\n=== second\nfile: a/x.go\nequivalent: why\n<<<\nold\n---\n>>>\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].name != "second" || all[1].old != "\tone\n\ttwo" || all[1].new != "\tthree" || strings.Join(all[1].packages, " ") != "./b ./c" {
		t.Errorf("got %+v", all)
	}
	if all[0].new != "" || all[0].equivalent != "why" || all[0].packages[0] != "./a" {
		t.Errorf("got %+v", all[0])
	}
}

// A bug that nothing notices must fail the run, also where others are found.
func TestReport_FailsOnSurvivors(t *testing.T) {
	t.Parallel()
	mutants := []mutant{{name: "one", file: "a/x.go"}, {name: "two", file: "a/x.go"}, {name: "three", file: "a/x.go", equivalent: "no input shows it"}}
	for name, test := range map[string]struct {
		second result
		want   string
	}{
		"found by tests":      {result{units: found, simulation: missed}, ""},
		"found by simulation": {result{units: missed, simulation: found}, ""},
		"survived":            {result{units: missed, simulation: missed}, "1 planted bugs were not found"},
		"not built":           {result{units: unbuilt, detail: "syntax"}, "1 planted bugs were not found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			err := report(&out, mutants, []result{{units: found}, test.second, {units: missed, equivalent: true}})
			if got := errorText(err); got != test.want {
				t.Errorf("error %q, want %q", got, test.want)
			}
			if !strings.Contains(out.String(), "3 planted, ") || !strings.Contains(out.String(), "1 argued to be equivalent") {
				t.Errorf("sums are missing:\n%s", out.String())
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
