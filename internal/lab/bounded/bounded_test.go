package bounded

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// recorder is a test that notes its failures.
type recorder struct {
	testing.TB

	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestWithin_FailsWhereTooMuchIsUsed(t *testing.T) { //nolint:paralleltest // it looks at the whole process
	const longest = 100 * time.Millisecond
	for name, tt := range map[string]struct {
		use  func()
		want bool
	}{
		"little":          {func() { _ = bytes.Repeat([]byte("x"), 100) }, false},
		"too much memory": {func() { _ = bytes.Repeat([]byte("x"), 10<<20) }, true},
		"too much time": {func() {
			_, before := used(t)
			for after := before; after-before <= longest; _, after = used(t) {
				continue
			}
		}, true},
	} {
		r := &recorder{TB: t}
		check := within(r, 8<<20, longest)
		tt.use()
		if check(); r.failed != tt.want {
			t.Errorf("%s: failed %v, want %v", name, r.failed, tt.want)
		}
	}
}

// Every fuzz target of the module has a bound, and inputs that are kept.
func TestEveryFuzzTargetIsBounded(t *testing.T) {
	t.Parallel()
	target := regexp.MustCompile(`(?ms)^func (Fuzz\w+)\(.*?^}`)
	n := 0
	err := filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, f := range target.FindAllStringSubmatch(string(text), -1) {
			n++
			if !strings.Contains(f[0], "defer bounded.Within(") {
				t.Errorf("%s: %s has no bound", path, f[1])
			}
			if kept, err := os.ReadDir(filepath.Join(filepath.Dir(path), "testdata", "fuzz", f[1])); err != nil || len(kept) == 0 {
				t.Errorf("%s: no inputs are kept of %s", path, f[1])
			}
		}
		return nil
	})
	if err != nil || n < 19 {
		t.Errorf("%d targets were found: %v", n, err)
	}
}
