package helm

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/contactsync/contactsync/metrics"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type rule struct {
	Alert, Record, Expr string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal([]byte(read(t, "contactsync/files/rules.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// An alert whose series is not there never fires, and nobody notices.
func TestRules_NameSeriesThatThereAre(t *testing.T) {
	t.Parallel()
	types := map[string]string{}
	for _, s := range metrics.Describe() {
		types[s.Name] = s.Type
	}
	for _, r := range rules(t) {
		found := regexp.MustCompile(`contactsync_\w+`).FindAllString(r.Expr, -1)
		if len(found) == 0 && !strings.Contains(r.Expr, "contactsync:") && !strings.Contains(r.Expr, "contactsync_(") {
			t.Errorf("%s%s names no series", r.Alert, r.Record)
		}
		for _, name := range found {
			base := strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
			if types[name] == "" && types[base] != "histogram" && name != "contactsync_" {
				t.Errorf("%s%s: there is no series %s", r.Alert, r.Record, name)
			}
		}
	}
}

// Each alert has a heading in the runbook with all four parts, a command to look and one to
// mend, a case in which it fires, and one just above its bound.
func TestRules_EachAlertHasItsHeadingAndItsCase(t *testing.T) {
	t.Parallel()
	cases, bounds := read(t, "rules_test.yaml"), read(t, "bounds_test.yaml")
	headings := map[string]string{}
	for _, section := range strings.Split(read(t, "../docs/runbook.md"), "\n## ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		headings[name] = text
	}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		text, ok := headings[r.Alert]
		delete(headings, r.Alert)
		for _, part := range []string{"**Meaning.**", "**Impact.**", "**Diagnosis.**", "**Mitigation.**"} {
			if !ok || !strings.Contains(text, part) {
				t.Errorf("the runbook lacks %s of %s", part, r.Alert)
			}
		}
		if strings.Count(text, "```") != 4 {
			t.Errorf("the runbook needs a command to look and one to mend for %s", r.Alert)
		}
		if !strings.HasSuffix(r.Annotations["runbook_url"], "docs/runbook.md#"+strings.ToLower(r.Alert)) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: annotations %v", r.Alert, r.Annotations)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
		}
		if !strings.Contains(cases, "name: "+r.Alert+"\n") || !strings.Contains(cases, `alertname="`+r.Alert+`"`) {
			t.Errorf("no case of rules_test.yaml has %s fire", r.Alert)
		}
		if !strings.Contains(bounds, "name: "+r.Alert+" above its bound\n") {
			t.Errorf("no case of bounds_test.yaml has %s just above its bound", r.Alert)
		}
	}
	for name := range headings {
		t.Errorf("the runbook has a heading %s, and no alert has that name", name)
	}
}

// The maths of the sample objective: what the document says of a burn rate follows from it.
func TestRules_BurnRatesAreAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	const days, budget = 30, 0.01 // of the sample objective
	doc := read(t, "../docs/operations.md")
	exprs := map[string]string{}
	for _, r := range rules(t) {
		exprs[r.Alert] = r.Expr
	}
	for alert, want := range map[string]struct {
		burn        float64
		long, short string
		hours       float64 // of the long window
		gone        string
	}{
		"ContactsyncTooOldFast": {14.4, "1h", "5m", 1, "50 hours"},
		"ContactsyncTooOldSlow": {6, "6h", "30m", 6, "5 days"},
	} {
		for _, window := range []string{want.long, want.short} {
			if part := fmt.Sprintf("ratio_rate%s > %v * %v #", window, want.burn, budget); !strings.Contains(exprs[alert], part) {
				t.Errorf("%s has no %q", alert, part)
			}
		}
		goes := days * 24 / want.burn
		if want.gone != fmt.Sprintf("%v hours", goes) && want.gone != fmt.Sprintf("%v days", goes/24) {
			t.Errorf("at %v times the budget is gone in %v hours, not %s", want.burn, goes, want.gone)
		}
		line := regexp.MustCompile(fmt.Sprintf(`\| %v \| %v %% \| .* \| %s \| %.0f %% in .* \| .%s. \|`, want.burn, 100*budget*want.burn, want.gone, 100*want.burn*want.hours/(days*24), alert))
		if !line.MatchString(doc) {
			t.Errorf("docs/operations.md has no line like %s", line)
		}
	}
}
