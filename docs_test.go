package contactsync_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/metrics"
)

// What the documents name must be there: a file that was moved, a setting or a
// series that was renamed would send a reader astray.

// documents returns the text of everything written for people, by file.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "examples", "helm").Output()
	if err != nil {
		t.Skip("not a git checkout")
	}
	texts := map[string]string{}
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSuffix(name, "\n")
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

func TestDocuments_NameFilesThatExist(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`((?:[a-z0-9_.-]+/)+[a-z0-9_.*-]*)`|\\]\\(([^)#:]+)(?:#[^)]*)?\\)")
	for doc, text := range documents(t) {
		if doc == "CHANGELOG.md" || !strings.HasSuffix(doc, ".md") {
			continue
		}
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			path, base := m[1], "."
			if m[2] != "" {
				path, base = m[2], filepath.Dir(doc)
			} else if first, _, _ := strings.Cut(path, "/"); first == ".cache" || !exists(first) && !exists("internal/"+first) {
				continue // no path of the repository, as in application/json, or what a command leaves
			}
			if found, err := filepath.Glob(filepath.Join(base, path)); err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which is not there", doc, path)
			}
		}
	}
}

// A merge that was not ended would leave both of its sides in a document, which no compiler reads.
func TestDocuments_HaveNoConflicts(t *testing.T) {
	t.Parallel()
	conflict := regexp.MustCompile(`(?m)^(<{7}|>{7}|={7}$)`)
	for doc, text := range documents(t) {
		if at := conflict.FindString(text); at != "" {
			t.Errorf("%s has a line that begins with %s", doc, at)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestDocuments_NameSettingsThatExist(t *testing.T) {
	t.Parallel()
	var keys, envs []string
	for _, k := range config.Keys() {
		keys, envs = append(keys, strings.ReplaceAll(k.Path, "[]", "")), append(envs, k.Env)
	}
	sections := map[string]bool{}
	for _, key := range keys {
		section, _, _ := strings.Cut(key, ".")
		sections[section] = true
	}
	setting := regexp.MustCompile("`([a-z]+)((?:\\.[a-z_]+(?:\\[\\])?)+)`")
	env := regexp.MustCompile(`\bCONTACTSYNC_[A-Z0-9_]+[A-Z0-9]\b`)
	for doc, text := range documents(t) {
		if doc == "CHANGELOG.md" || doc == "docs/scenarios.md" { // which have names of the past, and of the lab
			continue
		}
		for _, m := range setting.FindAllStringSubmatch(text, -1) {
			key := strings.ReplaceAll(m[1]+m[2], "[]", "")
			if sections[m[1]] && !slices.Contains(keys, key) && !exists(m[1]+m[2]) && !strings.HasSuffix(key, ".go") && !strings.HasSuffix(key, ".md") {
				t.Errorf("%s names the setting %s, which is not there", doc, key)
			}
		}
		for _, name := range env.FindAllString(text, -1) {
			if !slices.Contains(envs, name) && !strings.HasPrefix(name, "CONTACTSYNC_SERVICE") && !strings.HasPrefix(name, "CONTACTSYNC_PORT") {
				t.Errorf("%s names the variable %s, which is not there", doc, name)
			}
		}
	}
}

func TestDocuments_NameSeriesThatExist(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, s := range metrics.Describe() {
		known[s.Name] = true
	}
	series := regexp.MustCompile(`\bcontactsync_[a-z0-9_]+[a-z0-9]\b`)
	for doc, text := range documents(t) {
		for _, name := range series.FindAllString(text, -1) {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
			if !known[name] && !known[base] {
				t.Errorf("%s names the series %s, which is not there", doc, name)
			}
		}
	}
}

// The image has no shell and no search path that leads to the program.
func TestDocuments_CallTheProgramOfTheImageByItsPath(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	help, err := os.ReadFile("cmd/contactsync/status.go")
	if err != nil {
		t.Fatal(err)
	}
	texts["cmd/contactsync/status.go"] = string(help)
	call := regexp.MustCompile(`kubectl exec \S+ -- (\S+)`)
	for doc, text := range texts {
		for _, m := range call.FindAllStringSubmatch(text, -1) {
			if m[1] != "/contactsync" {
				t.Errorf("%s has %q", doc, m[0])
			}
		}
	}
}

// A test that a document names as evidence must exist.
func TestDocuments_NameTestsThatExist(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "git", "grep", "-hE", "--untracked", "^func (Test|Fuzz)", "--", "*_test.go").Output()
	if err != nil {
		t.Skip("not a git checkout")
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z]*(?:_[A-Za-z]+)?)`")
	for doc, text := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(out), "func "+m[1]+"(") {
				t.Errorf("%s names %s, which is no test", doc, m[1])
			}
		}
	}
}
