// Command dashboard writes the Grafana dashboard of the chart, and the document about it.
// It is a module of its own, so that the service depends on nothing of it. Run it in its
// folder: go run .
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

const (
	rulesFile     = "../../helm/contactsync/files/rules.yaml"
	dashboardFile = "../../helm/contactsync/files/dashboard.json"
)

func main() {
	from := flag.String("rules", rulesFile, "the alerts, whose thresholds the dashboard has")
	to := flag.String("dashboard", dashboardFile, "the dashboard to write")
	answered := flag.String("draw", "", "what a Prometheus answered to the queries: draws them, and writes nothing else")
	flag.Parse()
	r, err := loadRules(*from)
	switch {
	case err != nil:
	case *answered != "":
		err = r.drawFile(*answered)
	default:
		err = r.writeFiles(*to)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func (r rules) drawFile(answered string) error {
	a, err := readAnswers(answered)
	if err != nil {
		return err
	}
	return r.draw(a, pictureDir)
}

func (r rules) writeFiles(to string) error {
	board, err := r.render(rows)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, board, 0o644); err != nil || to != dashboardFile {
		return err
	}
	return os.WriteFile(documentFile, []byte(document(rows)), 0o644)
}

func loadRules(file string) (rules, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return readRules(string(text))
}

// render is the dashboard as JSON. Nothing in it depends on when or where it is made.
func (r rules) render(rows []row) ([]byte, error) {
	//nolint:staticcheck // the second version of the schema is a preview, and only the newest Grafana reads it
	b := dashboard.NewDashboardBuilder("contactsync").Uid("contactsync").Tags([]string{"contactsync"}).
		Description("Whether contacts reach the API in time, and what holds them up. Its lines are the thresholds that the alerts have by default.").
		Readonly().Tooltip(dashboard.DashboardCursorSyncCrosshair).Time("now-3h", "now").Refresh("30s").Timezone("browser").
		Link(dashboard.NewDashboardLinkBuilder("Runbook").Type(dashboard.DashboardLinkTypeLink).Icon("doc").Url(docs + "runbook.md").TargetBlank(true)).
		Link(dashboard.NewDashboardLinkBuilder("Metrics").Type(dashboard.DashboardLinkTypeLink).Icon("doc").Url(docs + "metrics.md").TargetBlank(true))
	for _, v := range r.variables() {
		b = b.WithVariable(v)
	}
	started := prometheus.NewDataqueryBuilder().Expr(r.write(starts)).RefId("starts").Datasource(datasource)
	b = b.Annotation(dashboard.NewAnnotationQueryBuilder().Name("Starts of replicas").Datasource(datasource).Enable(true).IconColor(blue).
		Target(started).Expr(r.write(starts)).UseValueForTime(true).TitleFormat("{{instance}} started"))
	id := uint32(1)
	for _, row := range rows {
		b = b.WithRow(dashboard.NewRowBuilder(row.title).Id(id))
		id++
		for _, p := range row.panels {
			made, err := r.build(p, id)
			if err != nil {
				return nil, err
			}
			b = b.WithPanel(made)
			id++
		}
	}
	board, err := b.Build()
	if err != nil {
		return nil, err
	}
	for i := range board.Links { // not in a menu, where nobody looks for them
		board.Links[i].Placement = nil
	}
	for i := range board.Annotations.List {
		board.Annotations.List[i].Placement = nil
	}
	text, err := json.MarshalIndent(board, "", " ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// starts is when each replica was started, in the milliseconds that Grafana counts in.
const starts = `process_start_time_seconds{@} * 1000`

// variables are the choices at the top. A replica without a namespace is one of all
// namespaces. All jobs are those listed, since other programs have series of Go, too.
func (r rules) variables() []cog.Builder[dashboard.VariableModel] {
	choice := func(name, label, query string) *dashboard.QueryVariableBuilder {
		return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(datasource).
			Query(dashboard.StringOrMap{String: new(query)}).Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
			Sort(dashboard.VariableSortAlphabeticalAsc).Multi(true).IncludeAll(true).
			Current(dashboard.VariableOption{
				Text:  dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
				Value: dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
			})
	}
	return []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus"),
		choice("namespace", "Namespace", `label_values(contactsync_build_info, namespace)`).AllValue(".*"),
		choice("job", "Job", `label_values(contactsync_build_info{namespace=~"$namespace"}, job)`),
		choice("account", "Account", `label_values(contactsync_batcher_request_max_rows{namespace=~"$namespace", job=~"$job"}, account)`).AllValue(".*"),
	}
}
