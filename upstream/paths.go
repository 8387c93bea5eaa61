package upstream

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// tree is a set of dotted paths into an element of an answer's lists.
type tree struct {
	kids   map[string]*tree
	id     bool // a contact's id may be here
	reason bool // a reason may be here
}

// add marks the node at a path; arrays on the way need no mention.
func (t *tree) add(paths []string, mark func(*tree)) {
	for _, path := range paths {
		node := t
		for name := range strings.SplitSeq(path, ".") {
			if node.kids == nil {
				node.kids = map[string]*tree{}
			}
			if node.kids[name] == nil {
				node.kids[name] = &tree{}
			}
			node = node.kids[name]
		}
		mark(node)
	}
}

// element is what one element of a list says.
type element struct {
	ids    [][]byte // valid until the next element is read
	saying saying
}

// read reads one element from d. A plain string or number stands for an id.
func (e *element) read(d *jsontext.Decoder, paths *tree) error {
	e.ids, e.saying = e.ids[:0], saying{}
	if kind := d.PeekKind(); kind != '{' && kind != '[' {
		value, err := d.ReadValue()
		if err == nil {
			e.addID(kind, value)
		}
		return err
	}
	return e.walk(d, paths, true, 0)
}

func (e *element) walk(d *jsontext.Decoder, at *tree, top bool, depth int) error {
	kind := d.PeekKind()
	switch {
	case at.reason:
		return e.saying.listen(d, depth)
	case depth > mostDepth, kind != '{' && kind != '[':
		value, err := d.ReadValue()
		if err == nil && at.id {
			e.addID(kind, value)
		}
		return err
	}
	return eachElement(d, func(name []byte) error {
		if name == nil {
			return e.walk(d, at, false, depth+1)
		}
		if kid := at.kids[string(name)]; kid != nil {
			return e.walk(d, kid, false, depth+1)
		}
		if top && isCode(string(name)) {
			return e.saying.readCode(d)
		}
		_, err := d.ReadValue()
		return err
	})
}

func (e *element) addID(kind jsontext.Kind, value jsontext.Value) {
	switch kind {
	case '"':
		e.ids = append(e.ids, unquoted(value))
	case '0':
		e.ids = append(e.ids, value)
	}
}
