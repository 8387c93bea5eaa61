package app

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/upstream"
)

// TestStatus_IsDocumented wants each field of /status in its document, and no other one.
func TestStatus_IsDocumented(t *testing.T) {
	t.Parallel()
	// The values of unreadable.reason are in the same line.
	documents(t, "status.md", collect(reflect.TypeFor[Status](), map[string]bool{}), "corrupt", "too_large", "headers", "unsupported")
}

// docs/explain.md names every field of /api/explain, and everything that an event can wait for.
func TestExplanation_IsDocumented(t *testing.T) {
	t.Parallel()
	waits := append(batcher.AllWaits(), upstream.StateBudgetExhausted, upstream.StateThrottled, upstream.StateBreakerHalfOpen, upstream.StateBreakerOpen)
	fields := collect(reflect.TypeFor[Explanation](), map[string]bool{})
	elsewhere := slices.Collect(maps.Keys(collect(reflect.TypeFor[Status](), map[string]bool{})))
	for _, name := range elsewhere {
		delete(fields, name)
	}
	text := documents(t, "explain.md", fields, append(elsewhere, waits...)...)
	for _, what := range waits {
		if !strings.Contains(text, "`"+what+"`") {
			t.Errorf("docs/explain.md does not have %s", what)
		}
	}
}

// documents compares the fields in the tables of a page with those that are known, and returns the page. Others
// may stand among them.
func documents(t *testing.T, page string, known map[string]bool, others ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		fields := cells[1]
		if strings.Contains(fields, "`unreadable`") { // whose own fields are in the text
			fields = line
		}
		for _, m := range regexp.MustCompile("`([a-z0-9_.*]+)`").FindAllStringSubmatch(fields, -1) {
			documented[m[1][strings.LastIndex(m[1], ".")+1:]] = true
		}
	}
	for name := range known {
		if !documented[name] {
			t.Errorf("docs/%s does not have %s", page, name)
		}
	}
	for name := range documented {
		if !known[name] && !slices.Contains(others, name) {
			t.Errorf("docs/%s has %s, which is no field", page, name)
		}
	}
	return string(text)
}

// collect notes the names that a type has in JSON, and returns them.
func collect(t reflect.Type, names map[string]bool) map[string]bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		collect(t.Elem(), names)
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return names
		}
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && name != "-" {
				names[name] = true
			}
			if name != "" && name != "-" || f.Anonymous {
				collect(f.Type, names)
			}
		}
	default:
	}
	return names
}
