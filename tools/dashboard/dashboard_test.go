package main

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/metrics"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	prom "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/prometheus/promql/parser"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func load(t *testing.T) rules {
	t.Helper()
	r, err := loadRules(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDocument_DashboardIsCurrent(t *testing.T) {
	t.Parallel()
	want, err := load(t).render(rows)
	if err != nil {
		t.Fatal(err)
	}
	if read(t, dashboardFile) != string(want) {
		t.Errorf("%s is stale: make docs", dashboardFile)
	}
}

func panels() (all []panel) {
	for _, row := range rows {
		all = append(all, row.panels...)
	}
	return all
}

// parse replaces what Grafana replaces, and parses the query as Prometheus does.
func parse(t *testing.T, r rules, expr string) parser.Expr {
	t.Helper()
	full := r.write(expr)
	for _, v := range []string{"namespace", "job", "account"} {
		full = strings.ReplaceAll(full, `"$`+v, `"(a|b)`)
	}
	full = strings.ReplaceAll(full, "$__rate_interval", "5m")
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(full)
	if err != nil {
		t.Errorf("%s\n%v", expr, err)
	}
	return parsed
}

// known are the labels of every series that there may be, with their values, or without
// where those are known at run time only.
func known(t *testing.T) map[string]map[string][]string {
	t.Helper()
	all := map[string]map[string][]string{"ALERTS": {"alertname": nil, "alertstate": {"firing", "pending"}}}
	for _, s := range metrics.Describe() {
		values := map[string][]string{}
		for _, l := range s.Labels {
			values[l.Name] = l.Values
		}
		all[s.Name] = values
		if s.Type == "histogram" {
			delete(all, s.Name)
			all[s.Name+"_sum"], all[s.Name+"_count"] = values, values
			withLe := map[string][]string{"le": nil}
			maps.Copy(withLe, values)
			all[s.Name+"_bucket"] = withLe
		}
	}
	reg := prometheus.NewRegistry() // as contactsync run has it
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		all[f.GetName()] = map[string][]string{}
	}
	for _, rule := range ruleFile(t) {
		if rule.Record != "" {
			all[rule.Record] = map[string][]string{}
			for label := range strings.SplitSeq(regexp.MustCompile(`by \(([^)]+)\)`).FindStringSubmatch(rule.Expr)[1], ", ") {
				all[rule.Record][label] = nil
			}
		}
	}
	for _, values := range all {
		values["namespace"], values["job"], values["instance"] = nil, nil, nil
	}
	return all
}

// A panel whose series, label or value is not there stays empty, and nobody notices.
func TestQueries_NameWhatThereIs(t *testing.T) {
	t.Parallel()
	r, series := load(t), known(t)
	exprs := []string{starts}
	for _, p := range panels() {
		for _, q := range p.queries {
			exprs = append(exprs, q.expr)
		}
	}
	for _, expr := range exprs {
		parsed := parse(t, r, expr)
		if parsed == nil {
			continue
		}
		parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
			selector, ok := node.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			values, ok := series[selector.Name]
			if !ok {
				t.Errorf("%s\nthere is no series %q", expr, selector.Name)
				return nil
			}
			for _, m := range selector.LabelMatchers {
				if m.Name == "__name__" {
					continue
				}
				known, ok := values[m.Name]
				if !ok {
					t.Errorf("%s\n%s has no label %s", expr, selector.Name, m.Name)
				}
				for value := range strings.SplitSeq(m.Value, "|") {
					if known != nil && !slices.Contains(known, value) {
						t.Errorf("%s\n%s has no %s %q", expr, selector.Name, m.Name, value)
					}
				}
			}
			return nil
		})
		checkGrouping(t, expr, parsed, series)
	}
}

// checkGrouping: what is grouped by is a label of the series below, and what is of a
// partition is taken from one replica, since two have it for a while when it moves.
func checkGrouping(t *testing.T, expr string, parsed parser.Expr, series map[string]map[string][]string) {
	t.Helper()
	parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		labels, nearest := series[selector.Name], ""
		for _, above := range slices.Backward(path) {
			aggregate, ok := above.(*parser.AggregateExpr)
			if !ok {
				continue
			}
			if nearest == "" {
				nearest = aggregate.Op.String()
			}
			for _, name := range aggregate.Grouping {
				if _, ok := labels[name]; !ok {
					t.Errorf("%s\n%s has no label %s to group by", expr, selector.Name, name)
				}
			}
		}
		if _, ofPartition := labels["partition"]; ofPartition && nearest != "max" {
			t.Errorf("%s\n%s is of a partition, and %q counts it twice when it moves", expr, selector.Name, nearest)
		}
		return nil
	})
}

func TestVariables_NameWhatThereIs(t *testing.T) {
	t.Parallel()
	r, series := load(t), known(t)
	for _, v := range r.variables() {
		made, err := v.Build()
		if err != nil {
			t.Fatal(err)
		}
		if made.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((\w+)(\{.*\})?, (\w+)\)$`).FindStringSubmatch(*made.Query.String)
		if m == nil {
			t.Errorf("%s asks %s", made.Name, *made.Query.String)
			continue
		}
		parse(t, r, m[1]+m[2])
		if _, ok := series[m[1]][m[3]]; !ok {
			t.Errorf("%s: %s has no label %s", made.Name, m[1], m[3])
		}
	}
}

// Each panel says what to do, and where to read on.
func TestPanels_AreComplete(t *testing.T) {
	t.Parallel()
	titles := map[string]bool{}
	for _, p := range panels() {
		if titles[p.title] {
			t.Errorf("two panels ask %q", p.title)
		}
		titles[p.title] = true
		if !strings.HasSuffix(p.title, "?") && p.kind != stats {
			t.Errorf("%s is no question", p.title)
		}
		if p.unit == "" || strings.Count(p.help, ". ") < 1 || !strings.HasSuffix(p.help, ".") {
			t.Errorf("%s: unit %q, description %q", p.title, p.unit, p.help)
		}
		if !heading(t, p.see) {
			t.Errorf("%s: there is no heading %s", p.title, p.see)
		}
		if len(p.queries) == 0 {
			t.Errorf("%s asks nothing", p.title)
		}
		for _, q := range p.queries {
			if q.legend == "" {
				t.Errorf("%s: a query has no legend", p.title)
			}
			if strings.Contains(q.expr, "rate(") && !strings.Contains(q.expr, "$__rate_interval") {
				t.Errorf("%s: a rate over a fixed time", p.title)
			}
		}
	}
}

// heading is whether a document of docs has a heading with the anchor that GitHub gives it.
func heading(t *testing.T, see string) bool {
	t.Helper()
	file, anchor, _ := strings.Cut(see, "#")
	for line := range strings.Lines(read(t, "../../docs/"+file)) {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		title = strings.ToLower(strings.TrimSpace(title))
		if ok && line[0] == '#' && strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(title, ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}

// A line of panels that is not full is followed by one that lies in it.
func TestRows_FillTheirLines(t *testing.T) {
	t.Parallel()
	for _, row := range rows {
		x, height := uint32(0), uint32(0)
		for _, p := range row.panels {
			if x > 0 && p.h != height {
				t.Errorf("%s is not as high as its neighbor", p.title)
			}
			height = p.h
			x = (x + p.w) % 24
		}
		if x != 0 {
			t.Errorf("the last line of %q is not full", row.title)
		}
	}
}

// Grafana's own schema takes the file, and finds each panel and query by an id of its own.
func TestDashboard_IsOneOfGrafana(t *testing.T) {
	known := cog.NewRuntime() // what a dashboard may hold is known to all of the process
	known.RegisterDataqueryVariant(prom.VariantConfig())
	for _, kind := range []variants.PanelcfgConfig{stat.VariantConfig(), timeseries.VariantConfig(), statetimeline.VariantConfig()} {
		known.RegisterPanelcfgVariant(kind)
	}
	text := []byte(read(t, dashboardFile))
	var strict, d dashboard.Dashboard //nolint:staticcheck // as what is written

	// No errors are an empty list, and not nil.
	if err := strict.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		t.Error(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	ids := map[uint32]bool{}
	for _, p := range d.Panels {
		if p.RowPanel != nil {
			if ids[p.RowPanel.Id] || len(p.RowPanel.Panels) > 0 {
				t.Errorf("row %q has the id %d and %d panels", *p.RowPanel.Title, p.RowPanel.Id, len(p.RowPanel.Panels))
			}
			ids[p.RowPanel.Id] = true
			continue
		}
		if ids[*p.Panel.Id] {
			t.Errorf("%q has the id %d of another", *p.Panel.Title, *p.Panel.Id)
		}
		ids[*p.Panel.Id] = true
		refs := map[string]bool{}
		for _, target := range p.Panel.Targets {
			query, ok := target.(*prom.Dataquery)
			if !ok || query.RefId == nil {
				t.Fatalf("%q has the query %#v", *p.Panel.Title, target)
			}
			if refs[*query.RefId] || query.Datasource == nil || *query.Datasource.Uid != "$datasource" {
				t.Errorf("%q: query %q asks %v", *p.Panel.Title, *query.RefId, query.Datasource)
			}
			refs[*query.RefId] = true
		}
	}
}
