package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/config"
)

const root = "../.."

// render fails where a field has no comment, so this covers that rule too.
func TestDocument_IsCurrent(t *testing.T) {
	t.Parallel()
	want, err := render(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i := range max(len(wantLines), len(gotLines)) {
		w, g := at(wantLines, i), at(gotLines, i)
		if w != g {
			t.Fatalf("%s is stale, run go run ./tools/configdoc; line %d\n got: %s\nwant: %s", document, i+1, g, w)
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

func TestDocument_NamesEverySetting(t *testing.T) {
	t.Parallel()
	text, err := render(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range config.Keys() {
		if strings.Contains(k.Path, ".") && strings.Count(string(text), "\n| `"+k.Path+"` |") != 1 {
			t.Errorf("%s has not one row", k.Path)
		}
		if k.Env != "" && !strings.Contains(string(text), "| `"+k.Env+"` |") {
			t.Errorf("%s is not named", k.Env)
		}
	}
}

func TestComments_MissingIsAnError(t *testing.T) {
	t.Parallel()
	source := &comments{root: root, read: map[string]bool{}, text: map[string]string{}}
	key := config.Keys()[0]
	if _, err := source.of(key.Owner, "NoSuchField"); err == nil || !strings.Contains(err.Error(), "config.Config.NoSuchField") {
		t.Errorf("got %v, want an error that names the field", err)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, field, path, text, want string }{
		{"go name", "MaxRows", "batcher.max_rows", "MaxRows bounds the rows.", "`max_rows` bounds the rows."},
		{"plain word", "Linger", "batcher.linger", "Linger bounds a wait.", "Linger bounds a wait."},
		{"abbreviation", "ID", "upstream.accounts[].id", "ID names the account.", "ID names the account."},
		{"is", "MaxRows", "batcher.max_rows", "MaxRows is how many rows there are.", "How many rows there are."},
		{"are", "Topics", "consumer.topics", "Topics are the topics to read.", "The topics to read."},
		{"another beginning", "MaxRows", "batcher.max_rows", "Up to 7.", "Up to 7."},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := describe(config.Key{Field: test.field, Path: test.path}, test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
