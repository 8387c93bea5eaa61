// Command metricsdoc writes docs/metrics.md from the table in which the service
// makes its series. Run it in the root of the module: go run ./tools/metricsdoc.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/contactsync/contactsync/metrics"
)

const document = "docs/metrics.md"

const intro = `# Metrics

<!-- Written by go run ./tools/metricsdoc from the table in the code. Change that, not this file. -->

Served at ` + "`/metrics`" + ` of the admin port. Series of the Go runtime and of the process (` + "`go_*`, `process_*`" + `) are there too.
Counters and gauges are of this replica: sum over replicas. Counters whose labels have known values start at zero, so that
` + "`rate()`" + ` and ` + "`increase()`" + ` see the first increase. Labels are bounded: no stream, contact or error text is one.
Where no unit is given, the series counts what its name says. The [dashboard](dashboard.md) shows most of them, with pictures of a service in trouble.
`

func main() {
	if err := os.WriteFile(document, []byte(render()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "write the document:", err)
		os.Exit(1)
	}
}

// render is the document as text: a table for each stage, the part of a name after
// the namespace.
func render() string {
	var b strings.Builder
	b.WriteString(intro)
	section := ""
	for _, s := range metrics.Describe() {
		stage, _, _ := strings.Cut(strings.TrimPrefix(s.Name, metrics.Namespace+"_"), "_")
		if stage != section {
			section = stage
			fmt.Fprintf(&b, "\n## %s\n\n| series | type | labels | unit | meaning | what to do |\n| --- | --- | --- | --- | --- | --- |\n", stage)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", s.Name, s.Type, labels(s.Labels), unit(s.Name), cell(s.Help), cell(s.Action))
	}
	return b.String()
}

// labels lists the labels with their values, or what these are.
func labels(all []metrics.Label) string {
	var texts []string
	for _, l := range all {
		values := l.Help
		if l.Values != nil {
			values = "`" + strings.Join(l.Values, "`, `") + "`"
		}
		texts = append(texts, fmt.Sprintf("`%s`: %s", l.Name, values))
	}
	return cell(strings.Join(texts, "; "))
}

// unit is the base unit that a name ends with, before the suffix of counters.
func unit(name string) string {
	words := strings.Split(strings.TrimSuffix(name, "_total"), "_")
	if last := words[len(words)-1]; last == "seconds" || last == "bytes" {
		return last
	}
	return ""
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
