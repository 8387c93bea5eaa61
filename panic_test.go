package contactsync_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// serviceFiles calls f with each file of the service itself.
func serviceFiles(t *testing.T, f func(set *token.FileSet, file *ast.File)) {
	t.Helper()
	n := 0
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		if strings.HasPrefix(path, "internal/lab") || strings.HasPrefix(path, "e2e") || strings.HasPrefix(path, "tools") || path == "cmd/contactlab" || strings.HasSuffix(path, "test") {
			continue
		}
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			f(set, file)
			n++
		}
	}
	if n < 100 {
		t.Errorf("only %d files were read", n)
	}
}

// TestPolicy_PanicsAreConstants: Go prints the value of a panic, so none may carry what was
// received, and internal/crash prints the constants that begin in this way.
func TestPolicy_PanicsAreConstants(t *testing.T) {
	t.Parallel()
	seen := 0
	serviceFiles(t, func(set *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if name, ok := call.Fun.(*ast.Ident); !ok || name.Name != "panic" {
				return true
			}
			seen++
			constant, ok := call.Args[0].(*ast.BasicLit)
			abort, isAbort := call.Args[0].(*ast.SelectorExpr)
			switch {
			case ok && constant.Kind == token.STRING && strings.HasPrefix(constant.Value[1:], "BUG: "):
			case isAbort && abort.Sel.Name == "ErrAbortHandler": // a constant too, of net/http
			default:
				t.Errorf(`%v: panic with a constant that begins with "BUG: "`, set.Position(call.Pos()))
			}
			return true
		})
	})
	if seen == 0 {
		t.Error("no panic was found")
	}
}

// TestPolicy_GoroutinesBeginWithExit: otherwise Go prints the value of their panics.
func TestPolicy_GoroutinesBeginWithExit(t *testing.T) {
	t.Parallel()
	seen := 0
	serviceFiles(t, func(set *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			var started ast.Expr
			switch n := n.(type) {
			case *ast.GoStmt:
				started = n.Call.Fun
			case *ast.CallExpr:
				if method, ok := n.Fun.(*ast.SelectorExpr); !ok || method.Sel.Name != "Go" || len(n.Args) != 1 {
					return true
				}
				started = n.Args[0]
			default:
				return true
			}
			seen++
			if !beginsWithExit(started) {
				t.Errorf("%v: begin the goroutine's function with: defer crash.Exit()", set.Position(n.Pos()))
			}
			return true
		})
	})
	if seen < 15 {
		t.Errorf("only %d goroutines were found", seen)
	}
}

func beginsWithExit(f ast.Expr) bool {
	literal, ok := f.(*ast.FuncLit)
	if !ok || len(literal.Body.List) == 0 {
		return false
	}
	first, ok := literal.Body.List[0].(*ast.DeferStmt)
	if !ok {
		return false
	}
	exit, ok := first.Call.Fun.(*ast.SelectorExpr)
	if !ok || exit.Sel.Name != "Exit" {
		return false
	}
	from, ok := exit.X.(*ast.Ident)
	return ok && from.Name == "crash"
}
