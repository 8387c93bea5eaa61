package main

import (
	"fmt"
	"strings"
)

const (
	documentFile = "../../docs/dashboard.md"
	pictureDir   = "../../docs/images/dashboard"
)

const intro = `# The dashboard

<!-- Written by go run . in tools/dashboard, from the panels in the code. Change those, not this file. -->

[contactsync.json](../helm/contactsync/files/dashboard.json) is a dashboard for Grafana 10 and later. Its first row answers in ten seconds whether contacts reach the API in
time, and who holds them up if not; each row below it goes further into one part. Each panel says in its description what to do, and links to where that is explained.

**With the chart.** ` + "`dashboard.enabled: true`" + ` puts it into a ConfigMap with the label ` + "`grafana_dashboard: \"1\"`" + `, which the sidecar of Grafana's charts loads. Another label, a
folder or another namespace: ` + "`dashboard.labels`, `dashboard.annotations` and `dashboard.namespace`" + `. With ` + "`prometheusRule.enabled: true`" + ` come the alerts and the recording rules.

**By hand.** In Grafana choose Dashboards, New, Import, and upload the file; then choose the data source at the top of the dashboard. Load
[rules.yaml](../helm/contactsync/files/rules.yaml) into Prometheus: what is left to do, the error budget and the alerts are read from its series. Or provision it:

` + "```" + `
cp helm/contactsync/files/dashboard.json /var/lib/grafana/dashboards/contactsync.json
` + "```" + `

**The choices at the top** are the data source, the namespaces and jobs of Prometheus, and accounts. With several jobs chosen the first row has the worst of them. Replicas are added
up, and what is of a partition is taken from one of them, since two have it for a moment while it moves. Dashed lines are the thresholds that the alerts have by default; other
` + "`prometheusRule.thresholds`" + ` do not move them. Vertical lines are starts of replicas.

**The pictures** were drawn by ` + "`make dashboard`" + ` from what a real Prometheus answered. It scraped two replicas with two accounts for three minutes, with thresholds and windows of the alerts a
hundredth of the real ones. After 20 s the API no longer knows one of the streams; from 40 to 70 s it throttles ` + "`crm-eu`" + `; from 80 to 110 s the host of ` + "`crm-us`" + ` is down; from 120 to 150 s
` + "`crm-eu`" + ` answers slowly. Towards the end of that come a burst of 6,000 events and a damaged record batch, which halts a partition. Some events are bad all the time. The replicas shared a
process, so CPU and memory are those of both.
`

// document is the text about the dashboard: for each row its picture, and each panel with
// what to do.
func document(rows []row) string {
	var b strings.Builder
	b.WriteString(intro)
	for _, row := range rows {
		fmt.Fprintf(&b, "\n## %s\n\n![%s](images/dashboard/%s)\n\n| panel | what it shows, and what to do | more |\n| --- | --- | --- |\n", row.title, row.title, picture(row))
		for _, p := range row.panels {
			file, heading, _ := strings.Cut(p.see, "#")
			fmt.Fprintf(&b, "| %s | %s | [%s](%s#%s) |\n", p.title, strings.ReplaceAll(p.help, "|", `\|`), strings.TrimSuffix(file, ".md"), file, heading)
		}
	}
	return b.String()
}
