package upstream

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// pathTree is a set of dotted paths into a record of an answer.
type pathTree struct {
	children map[string]*pathTree
	id       bool // a contact's id may be here
	reason   bool // a reason may be here
}

// add marks the node at each path.
func (t *pathTree) add(paths []string, mark func(*pathTree)) {
	for _, path := range paths {
		node := t
		for name := range strings.SplitSeq(path, ".") {
			if node.children == nil {
				node.children = map[string]*pathTree{}
			}
			if node.children[name] == nil {
				node.children[name] = &pathTree{}
			}
			node = node.children[name]
		}
		mark(node)
	}
}

// record is one element of successfulRecords or failedRecords.
type record struct {
	ids  [][]byte // valid until the next record is read
	text errorText
	// contradicts: it has signs of the opposite of what its list says.
	contradicts bool
}

// read reads the next record of a list from d. A record that is a string or number is
// an id.
func (r *record) read(d *jsontext.Decoder, list member, paths *pathTree) error {
	r.ids, r.text, r.contradicts = r.ids[:0], errorText{}, false
	if kind := d.PeekKind(); kind != '{' && kind != '[' {
		value, err := d.ReadValue()
		if err == nil {
			r.addID(kind, value)
		}
		return err
	}
	return r.walk(d, list, paths, 0)
}

// walk reads the value at a node of the paths. Arrays are transparent to paths.
func (r *record) walk(d *jsontext.Decoder, list member, node *pathTree, depth int) error {
	kind := d.PeekKind()
	switch {
	case node.reason:
		return r.text.collect(d, depth)
	case depth > maxDepth, kind != '{' && kind != '[':
		value, err := d.ReadValue()
		if err == nil && node.id {
			r.addID(kind, value)
		}
		return err
	}
	return eachElement(d, func(name []byte) error {
		if name == nil {
			return r.walk(d, list, node, depth+1)
		}
		if child := node.children[string(name)]; child != nil {
			return r.walk(d, list, child, depth+1)
		}
		if depth > 0 {
			_, err := d.ReadValue()
			return err
		}
		title := string(name) // which is valid only until the value is read
		value, err := d.ReadValue()
		if err == nil {
			r.addMember(title, value, list)
		}
		return err
	})
}

// addMember takes in a member of the record itself that no path leads to.
func (r *record) addMember(name string, value jsontext.Value, list member) {
	opposite := signSuccess
	if list == memberSuccesses {
		opposite = signFailure
	}
	r.contradicts = r.contradicts || signOf(name, value) == opposite
	switch {
	case isCode(name) && r.text.addStatus(value):
	case list == memberSuccesses && isMessage(name):
		_ = r.text.collect(newDecoder(value), 1) // the value has been read as JSON already
	case list == memberFailures && name != "contact":
		r.text.addOther(name, value)
	}
}

// mostIDs bounds the ids of a record, which is about one row. With more it names several, or
// nobody.
const mostIDs = 8

func (r *record) addID(kind jsontext.Kind, value jsontext.Value) {
	if len(r.ids) == mostIDs {
		r.contradicts = true
		return
	}
	switch kind {
	case '"':
		r.ids = append(r.ids, unquote(value))
	case '0':
		r.ids = append(r.ids, value)
	}
}
