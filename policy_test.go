package contactsync_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The rules of the repository, as tests, because a linter can be off.

type goPackage struct {
	ImportPath string
	Name       string
	Dir        string
	Doc        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps=false", "-json=ImportPath,Name,Dir,Doc,GoFiles,Imports,Deps", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

const module = "github.com/contactsync/contactsync"

// TestPolicy_TopLevel keeps the top of the repository to what a visitor expects.
func TestPolicy_TopLevel(t *testing.T) {
	t.Parallel()
	want := []string{
		".ci", ".github", "batcher", "cmd", "consumer", "docs", "e2e", "examples", "helm", "internal", "metrics", "testdata", "tools", "upstream",
	}
	out, err := exec.CommandContext(t.Context(), "git", "ls-files").Output()
	if err != nil {
		t.Skip("not a git checkout")
	}
	for path := range strings.Lines(string(out)) {
		if dir, _, below := strings.Cut(path, "/"); below && !slices.Contains(want, dir) {
			t.Errorf("%s lies at the top: put it under internal, docs, e2e, examples or tools", dir)
		}
	}
}

// TestPolicy_Imports keeps the direction of imports: the stages meet in app and in
// the root's values, internal/kafka and internal/event lie below them, only
// internal/kafka imports kafka-go, and the service's binary links nothing of the lab.
func TestPolicy_Imports(t *testing.T) {
	t.Parallel()
	stages := []string{module + "/consumer", module + "/batcher", module + "/upstream", module + "/internal/deadletter"}
	above := []string{module + "/internal/replay", module + "/internal/app", module + "/internal/explain"}
	below := []string{module + "/internal/kafka", module + "/internal/event"}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if slices.Contains(stages, p.ImportPath) && slices.Contains(stages, imp) {
				t.Errorf("%s imports its sibling %s", p.ImportPath, imp)
			}
			if slices.Contains(slices.Concat(stages, below), p.ImportPath) && slices.Contains(above, imp) ||
				slices.Contains(below, p.ImportPath) && slices.Contains(stages, imp) {
				t.Errorf("%s imports %s, which lies above it", p.ImportPath, imp)
			}
			if strings.HasPrefix(imp, "github.com/segmentio/kafka-go") && p.ImportPath != module+"/internal/kafka" {
				t.Errorf("%s imports %s: only internal/kafka does", p.ImportPath, imp)
			}
		}
		if p.ImportPath != module+"/cmd/contactsync" {
			continue
		}
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, module+"/internal/lab") || strings.HasPrefix(dep, module+"/e2e") || strings.Contains(dep, "franz-go") {
				t.Errorf("the service links %s", dep)
			}
		}
	}
}

// TestPolicy_StandardLibraryOnly: the root, because everybody imports it, and the second
// model of the API, because it is to share no belief with the service.
func TestPolicy_StandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if p.ImportPath != module && p.ImportPath != module+"/internal/lab/vendorapi" {
			continue
		}
		for _, imp := range p.Imports {
			if strings.Contains(imp, ".") {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}

func TestPolicy_PackageDocs(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && len(p.Doc) < 40 {
			t.Errorf("%s has no package comment that says what it promises", p.ImportPath)
		}
	}
}

// TestPolicy_FileSizes keeps files short enough to be read at one sitting.
func TestPolicy_FileSizes(t *testing.T) {
	t.Parallel()
	const most = 420
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(text, []byte("\n")); n > most && !strings.HasSuffix(path, "_test.go") {
			t.Errorf("%s has %d lines, at most %d are wanted", path, n, most)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPolicy_TypeSizes keeps a type to what one reader can hold in mind.
func TestPolicy_TypeSizes(t *testing.T) {
	t.Parallel()
	const most = 30
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, module+"/internal/lab") || strings.HasPrefix(p.ImportPath, module+"/e2e") {
			continue
		}
		methods := map[string]int{}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
					methods[receiver(f.Recv.List[0].Type)]++
				}
			}
		}
		for name, n := range methods {
			if n > most {
				t.Errorf("%s.%s has %d methods, at most %d are wanted", p.ImportPath, name, n, most)
			}
		}
	}
}

func receiver(of ast.Expr) string {
	switch e := of.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
