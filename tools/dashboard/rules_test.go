package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// rule is one of the rules file: an alert, or a series that is recorded.
type rule struct{ Alert, Record, Expr string }

func ruleFile(t *testing.T) (all []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(read(t, rulesFile)), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// What is counted once, as at a start, is no increase to Prometheus: where a rule records how
// much a series has grown, the panels and the alerts show that, or one says what the other does not.
func TestRecorded_IncreasesAreCountedInOnePlace(t *testing.T) {
	t.Parallel()
	recorded, growth := map[string]string{}, regexp.MustCompile(`increase\((\w+)(?:\{[^}]*\})?(\[\w+\])`)
	grows := func(expr string) string {
		if m := growth.FindStringSubmatch(expr); m != nil {
			return m[1] + m[2]
		}
		return ""
	}
	for _, rule := range ruleFile(t) {
		if series := grows(rule.Expr); series != "" && rule.Record != "" {
			recorded[series] = rule.Record
		}
	}
	if len(recorded) == 0 {
		t.Error("nothing is recorded")
	}
	exprs := map[string]string{}
	for _, p := range panels() {
		for _, q := range p.queries {
			exprs[p.title+": "+q.legend] = q.expr
		}
	}
	for _, rule := range ruleFile(t) {
		if rule.Alert != "" {
			exprs[rule.Alert] = rule.Expr
		}
	}
	for who, expr := range exprs {
		if record := recorded[grows(expr)]; record != "" {
			t.Errorf("%s counts %s by itself, and not as %s", who, grows(expr), record)
		}
	}
}

// countReplicas are the series by which alerts count replicas.
var countReplicas = []string{"contactsync_upstream_throttle_remaining_seconds", "contactsync_upstream_budget_limit_requests"}

// Whoever gets an alert finds on the dashboard what it has looked at.
func TestAlerts_SeriesOfEachAreShown(t *testing.T) {
	t.Parallel()
	var shown strings.Builder
	for _, p := range panels() {
		for _, q := range p.queries {
			shown.WriteString(q.expr)
		}
	}
	for _, rule := range ruleFile(t) {
		if rule.Record != "" && strings.Contains(shown.String(), rule.Record) {
			shown.WriteString(rule.Expr)
		}
	}
	alerts := 0
	for _, rule := range ruleFile(t) {
		if rule.Alert == "" {
			continue
		}
		alerts++
		for _, name := range regexp.MustCompile(`contactsync[_:][a-z0-9_:]+[a-z0-9]`).FindAllString(rule.Expr, -1) {
			if !slices.Contains(countReplicas, name) && !strings.Contains(shown.String(), name) {
				t.Errorf("%s looks at %s, and no panel shows it", rule.Alert, name)
			}
		}
	}
	if alerts == 0 {
		t.Error("there are no alerts")
	}
}

func TestRules_Thresholds(t *testing.T) {
	t.Parallel()
	r := load(t)
	if got := r.write("a > <lateSeconds> or <oldestSeconds>"); got != "a > 300 or 1800" {
		t.Errorf("got %q", got)
	}
	if got := r.value(step{threshold: "lateBudgetRatio", times: 6}); got != 0.06 {
		t.Errorf("six times the budget is %v", got)
	}
	if _, err := readRules("x > 1 # threshold a\ny > 2 # threshold a\n"); err == nil {
		t.Error("a threshold with two values is taken")
	}
}
