package stub

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/upstream"
)

const scenariosDoc = "../../../docs/scenarios.md"

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// examplesIn returns the YAML blocks of a document.
func examplesIn(doc string) []string {
	var all []string
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(doc, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestScenarios_ExamplesParse(t *testing.T) {
	t.Parallel()
	all := append(examplesIn(readText(t, scenariosDoc)), readText(t, "../../../examples/scenario.yaml"))
	if len(all) < 5 {
		t.Fatalf("%d examples: the document has four, and a file of its own", len(all))
	}
	for _, text := range all {
		s, err := ParseScenario([]byte(text))
		if err != nil || len(s.Rules) == 0 {
			t.Errorf("%d rules, %v in:\n%s", len(s.Rules), err, text)
		}
	}
}

// Every field is explained, and shown in an example.
func TestScenarios_FieldsAreDocumented(t *testing.T) {
	t.Parallel()
	doc := readText(t, scenariosDoc)
	shown := strings.Join(examplesIn(doc), "\n")
	for _, part := range []any{Rule{}, Match{}, Answer{}, Rows{}} {
		kind := reflect.TypeOf(part)
		for field := range kind.Fields() {
			name := field.Tag.Get("yaml")
			if name == "" || !strings.Contains(doc, "`"+name+"`") {
				t.Errorf("%v.%s: %q is not explained in %s", kind, field.Name, name, scenariosDoc)
			}
			if !regexp.MustCompile(`\b` + name + `:`).MatchString(shown) {
				t.Errorf("%v.%s: %q is in no example of %s", kind, field.Name, name, scenariosDoc)
			}
		}
	}
	for _, name := range []string{
		Reset, NotHTTP, CloseMidBody, NoAnswer, SlowBody,
		HTML, Truncated, GzipBomb, Endless, Empty, WrongContentType, RateLimitText,
	} {
		if !strings.Contains(doc, "| `"+name+"` |") {
			t.Errorf("%q is not explained in %s", name, scenariosDoc)
		}
	}
}

// Every row of the table is there, and each rule that stands beside it parses.
func TestScenarios_TableOfAnswers(t *testing.T) {
	t.Parallel()
	_, table, found := strings.Cut(readText(t, scenariosDoc), "## Every answer of the table")
	if !found {
		t.Fatal("the document has no table of answers")
	}
	var conditions []string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 2 || strings.Contains(cells[0], "---") || strings.Contains(cells[0], "what came back") {
			continue
		}
		conditions = append(conditions, strings.TrimPrefix(cells[0], "| "))
		for _, rule := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			if _, err := ParseScenario([]byte("rules: [{name: a, " + rule[1] + "}]")); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	var want []string
	for _, row := range upstream.Table() {
		want = append(want, row.Condition)
	}
	if !slices.Equal(conditions, want) {
		t.Errorf("the document has the rows %q, the table %q", conditions, want)
	}
}
