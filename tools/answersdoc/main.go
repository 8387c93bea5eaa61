// Command answersdoc writes docs/answers.md from the tables by which the service reads
// the API's answers and decides what they lead to. Run it in the root of the module: go run ./tools/answersdoc.
package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
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
	b.WriteString(`# What each answer means, and what it leads to

Generated from the tables in the code by ` + "`go run ./tools/answersdoc`" + `. In each of them the first row that fits counts. What is not
known is kept and retried. Holds and the dead-letter budget are described in [holds.md](holds.md).

## What came back

The kind is what the metrics count (` + "`contactsync_upstream_requests_total`" + `); only ` + "`unavailable` and `unknown`" + `
count against the circuit breaker. If a row is ambiguous, the API may still apply the request: its contacts wait for
` + "`batcher.ambiguous_retry_delay`" + ` before they are retried, with their newest state.

| what came back | kind | why | ambiguous |
| --- | --- | --- | --- |
`)
	for _, r := range upstream.Table() {
		ambiguous := ""
		if r.Ambiguous {
			ambiguous = "yes"
		}
		fmt.Fprintf(&b, "| %s | %v | %s | %s |\n", cell(r.Condition), r.Kind, cell(r.Why), ambiguous)
	}
	b.WriteString(`
## What happens to the request

| kind | where the request, or its answer, is or has | what happens |
| --- | --- | --- |
`)
	for _, kind := range contactsync.Kinds() {
		for _, d := range batcher.Policy() {
			if d.Kind == kind {
				fmt.Fprintf(&b, "| %v | %s | %s |\n", kind, cell(cmp.Or(d.When, "always")), cell(d.Then))
			}
		}
	}
	b.WriteString(`
## What happens to each row

An answer of the kind ` + "`answered`" + ` settles each row. ` + "`row_attempts`" + ` is a setting of the batcher.

| the row was | what happens to it |
| --- | --- |
`)
	for _, d := range batcher.RowPolicy() {
		fmt.Fprintf(&b, "| %s | %s |\n", cell(d.When), cell(d.Then))
	}
	return b.String()
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
