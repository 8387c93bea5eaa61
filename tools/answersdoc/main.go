// Command answersdoc writes docs/answers.md from the table by which the service reads
// the API's answers. Run it in the root of the module: go run ./tools/answersdoc.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/contactsync/contactsync/upstream"
)

const document = "docs/answers.md"

func main() {
	if err := os.WriteFile(document, []byte(render()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "write the document:", err)
		os.Exit(1)
	}
}

// render is the document as text.
func render() string {
	var b strings.Builder
	b.WriteString(`# What each answer means

Generated from the table in the code by ` + "`go run ./tools/answersdoc`" + `; the first row that fits counts. Whatever is not known is kept
and sent again. A kind names what the metrics count (` + "`contactsync_upstream_requests_total`" + `); only ` + "`unavailable` and `unknown`" + `
count against the breaker. Where a row is ambiguous, the API may still apply the request: its contacts wait for
` + "`batcher.ambiguous_retry_delay`" + ` before they are sent again, with their newest state. What a hold is, and what happens to rows that are refused, is in ` + "[holds.md](holds.md)" + `.

| what came back | kind | what happens | why | ambiguous |
| --- | --- | --- | --- | --- |
`)
	for _, r := range upstream.Table() {
		ambiguous := ""
		if r.Ambiguous {
			ambiguous = "yes"
		}
		fmt.Fprintf(&b, "| %s | %v | %s | %s | %s |\n", cell(r.Condition), r.Kind, cell(r.Then), cell(r.Why), ambiguous)
	}
	return b.String()
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
