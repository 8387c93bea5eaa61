package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
)

const module = "github.com/contactsync/contactsync/"

// comments are the comments of struct fields, by package path, type and field.
type comments struct {
	root string
	read map[string]bool   // packages
	text map[string]string // "path.Type.Field" to its comment in one line
}

// of returns the comment of a field. A field without one is an error: the
// comment is the only documentation that a user gets.
func (c *comments) of(owner reflect.Type, field string) (string, error) {
	pkg := owner.PkgPath()
	if !c.read[pkg] {
		if err := c.load(pkg); err != nil {
			return "", err
		}
		c.read[pkg] = true
	}
	name := pkg + "." + owner.Name() + "." + field
	if c.text[name] == "" {
		return "", fmt.Errorf("%s has no comment: say what the setting does, in which unit and within which bounds", name)
	}
	return c.text[name], nil
}

func (c *comments) load(pkg string) error {
	files, err := filepath.Glob(filepath.Join(c.root, filepath.FromSlash(strings.TrimPrefix(pkg, module)), "*.go"))
	if err != nil {
		return fmt.Errorf("list the files of %s: %w", pkg, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("read the comments of %s: %w", pkg, err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if fields, ok := spec.Type.(*ast.StructType); ok {
					c.keep(pkg+"."+spec.Name.Name, fields)
				}
			}
			return true
		})
	}
	return nil
}

func (c *comments) keep(owner string, fields *ast.StructType) {
	for _, field := range fields.Fields.List {
		for _, name := range field.Names {
			c.text[owner+"."+name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
		}
	}
}
