package app

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestStatus_IsDocumented wants each field of /status in its document, and no other one.
func TestStatus_IsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/status.md")
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
	known := map[string]bool{}
	collect(reflect.TypeFor[Status](), known)
	for name := range known {
		if !documented[name] {
			t.Errorf("docs/status.md does not have %s", name)
		}
	}
	for _, value := range []string{"corrupt", "too_large", "headers", "unsupported"} { // of unreadable.reason
		delete(documented, value)
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("docs/status.md has %s, which /status does not", name)
		}
	}
}

// collect notes the names that a type has in JSON.
func collect(t reflect.Type, names map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		collect(t.Elem(), names)
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return
		}
		for f := range t.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
				names[name] = true
				collect(f.Type, names)
			}
		}
	default:
	}
}
