package main

import (
	"os"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/metrics"
)

// TestDocument_IsCurrent fails where the table was changed and the document was not.
func TestDocument_IsCurrent(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != render() {
		t.Errorf("%s is stale: run go run ./tools/metricsdoc in the root of the module", document)
	}
}

// What is registered and what is described are compared in the package metrics.
func TestDocument_HasOneRowForEachSeries(t *testing.T) {
	t.Parallel()
	text := render()
	all := metrics.Describe()
	if rows := strings.Count(text, "\n| `contactsync_"); rows != len(all) {
		t.Errorf("%d rows for %d series", rows, len(all))
	}
	for _, s := range all {
		if strings.Count(text, "\n| `"+s.Name+"` |") != 1 {
			t.Errorf("%s has not one row", s.Name)
		}
	}
}

func TestUnit(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"contactsync_consumer_fetched_bytes_total": "bytes", "contactsync_upstream_request_duration_seconds": "seconds",
		"contactsync_batcher_request_max_rows": "", "contactsync_consumer_rebalances_total": "",
	} {
		if got := unit(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
