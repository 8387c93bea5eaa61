package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// row is a heading of the dashboard with its panels, which fill lines of 24 columns.
type row struct {
	title  string
	panels []panel
}

// panel is a question with the queries that answer it.
type panel struct {
	title string
	kind  kind
	w, h  uint32
	unit  string // one of Grafana's
	help  string // what it shows and what to do
	see   string // heading to read on at: file of docs/, "#" and the heading

	queries []query
	steps   []step // of colors; a graph has a line at each
	texts   []text // for values of a stat or of states
	none    string // shown where there is no value
	stack   bool
}

type kind int

const (
	stats kind = iota
	graph
	states
)

type query struct{ expr, legend string }

// step is where another color begins: at a number, or at a threshold of the alerts by its
// name, as many times as said.
type step struct {
	at        float64
	threshold string
	times     float64
	color     string
}

// text replaces the values from this one on, up to the next.
type text struct {
	from        float64
	text, color string
}

// The colors of Grafana's palette that are used.
const (
	green, yellow, orange, red, blue = "green", "yellow", "orange", "red", "blue"
)

const docs = "https://github.com/contactsync/contactsync/blob/main/docs/"

// rules are the thresholds of the alerts, by the names that the chart has for them.
type rules map[string]float64

var threshold = regexp.MustCompile(`([0-9.]+?)(?:\(\[\.\]0\)\?)?"? # threshold (\w+)\n`)

func readRules(text string) (rules, error) {
	r := rules{}
	for _, m := range threshold.FindAllStringSubmatch(text, -1) {
		value, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return nil, fmt.Errorf("threshold %s: %w", m[2], err)
		}
		if known, ok := r[m[2]]; ok && known != value {
			return nil, fmt.Errorf("threshold %s is %v and %v", m[2], known, value)
		}
		r[m[2]] = value
	}
	return r, nil
}

// write writes a query in full: {@ selects the replicas that are looked at, {@a one of their
// accounts, {@alerts the alerts that fire, and <name> is a threshold of the alerts.
func (r rules) write(expr string) string {
	const selected = `namespace=~"$namespace", job=~"$job"`
	full := strings.NewReplacer(
		"{@alerts", `{alertname=~"Contactsync.+", alertstate="firing", namespace=~"$namespace|", job=~"$job|"`, // one has no job
		"{@a", "{"+selected+`, account=~"$account"`,
		"{@", "{"+selected,
	).Replace(strings.TrimSpace(expr))
	for name, value := range r {
		full = strings.ReplaceAll(full, "<"+name+">", number(value))
	}
	return full
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// built is a panel that is done, as the builders want it.
type built struct{ dashboard.Panel }

func (b built) Build() (dashboard.Panel, error) { return b.Panel, nil }

var datasource = common.DataSourceRef{Type: new("prometheus"), Uid: new("$datasource")}

// build makes Grafana's panel. The builders differ by kind; what all kinds share is set in
// what they have built.
func (r rules) build(p panel, id uint32) (built, error) {
	made, err := p.kind.build(p)
	if err != nil {
		return built{}, fmt.Errorf("%s: %w", p.title, err)
	}
	made.Id, made.Title, made.Description = &id, &p.title, &p.help
	made.Datasource, made.GridPos = &datasource, &dashboard.GridPos{W: p.w, H: p.h}
	made.Links = []dashboard.DashboardLink{{
		Title: "What to do", Type: dashboard.DashboardLinkTypeLink, Url: new(docs + p.see), TargetBlank: true, Tags: []string{},
	}}
	for i, q := range p.queries {
		target := prometheus.NewDataqueryBuilder().Expr(r.write(q.expr)).LegendFormat(q.legend).
			RefId(string(rune('A' + i))).Datasource(datasource)
		if p.kind == stats {
			target = target.Instant()
		} else {
			target = target.Range()
		}
		query, err := target.Build()
		if err != nil {
			return built{}, fmt.Errorf("%s: %w", p.title, err)
		}
		made.Targets = append(made.Targets, query)
	}
	if made.FieldConfig == nil {
		made.FieldConfig = dashboard.NewFieldConfigSource()
	}
	field := &made.FieldConfig.Defaults
	field.Unit, field.Min = &p.unit, new(0.0)
	if p.none != "" {
		field.NoValue = &p.none
	}
	field.Thresholds = &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: r.steps(p)}
	field.Mappings = mappings(p.texts)
	field.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdPaletteClassic}
	if p.kind != graph {
		field.Color.Mode = dashboard.FieldColorModeIdThresholds
	}
	return built{made}, nil
}

// steps always have a first one, without a value: from there on all is well.
func (r rules) steps(p panel) []dashboard.Threshold {
	first := green
	switch {
	case len(p.steps) == 0 && len(p.texts) == 0:
		first = blue // a number that is neither good nor bad
	case len(p.steps) > 0 && p.steps[0].color == green:
		first = red // more is better
	}
	steps := []dashboard.Threshold{{Color: first}}
	for _, s := range p.steps {
		steps = append(steps, dashboard.Threshold{Value: new(r.value(s)), Color: s.color})
	}
	for i, t := range p.texts {
		if i > 0 {
			steps = append(steps, dashboard.Threshold{Value: new(t.from), Color: t.color})
		}
	}
	return steps
}

func (r rules) value(s step) float64 {
	if s.threshold == "" {
		return s.at
	}
	value, ok := r[s.threshold]
	if !ok {
		panic("BUG: no alert has the threshold " + s.threshold)
	}
	if s.times != 0 {
		value *= s.times
	}
	return value
}

func mappings(texts []text) (all []dashboard.ValueMapping) {
	for i, t := range texts {
		m := dashboard.NewRangeMap()
		m.Type = dashboard.MappingTypeRangeToText
		m.Options.From = &t.from
		if i+1 < len(texts) {
			m.Options.To = new(texts[i+1].from - 1e-9) // both ends of a range belong to it
		}
		m.Options.Result = dashboard.ValueMappingResult{Text: &t.text, Color: &t.color, Index: new(int32(i))}
		all = append(all, dashboard.ValueMapping{RangeMap: m})
	}
	return all
}

func (k kind) build(p panel) (dashboard.Panel, error) {
	legend := common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)
	tooltip := common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)
	switch k {
	case stats:
		return stat.NewPanelBuilder().ColorMode(common.BigValueColorModeBackgroundSolid).GraphMode(common.BigValueGraphModeNone).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).Build()
	case states:
		return statetimeline.NewPanelBuilder().Legend(common.NewVizLegendOptionsBuilder().ShowLegend(false).DisplayMode(common.LegendDisplayModeHidden).
			Placement(common.LegendPlacementBottom)).Tooltip(tooltip).ShowValue(common.VisibilityModeNever).MergeValues(true).RowHeight(0.8).FillOpacity(80).LineWidth(0).Build()
	case graph:
	}
	b := timeseries.NewPanelBuilder().Legend(legend).Tooltip(tooltip).LineWidth(1).FillOpacity(0).ShowPoints(common.VisibilityModeNever)
	if p.stack {
		b = b.FillOpacity(40).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A"))
	}
	if len(p.steps) > 0 {
		b = b.ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
	}
	return b.Build()
}
