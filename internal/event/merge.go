package event

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Merge composes two states of a contact as JSON merge patches (RFC 7396): members of
// newer win, objects merge member by member, anything else replaces, and members that
// only older has stay. A null stays a null, because the API has yet to receive it.
// Where only one of the two has an object, newer's value is taken whole.
//
// So three states merge to the same result in whichever order they are paired,
// except where the second has a value other than an object between two objects:
// then older and newer have to be merged from the oldest on.
//
// The result has older's members in their order, then those that only newer has;
// names and values are as they came. It shares no memory with its arguments.
// shape is the Contact.Shape of the result. Both bodies have to come from Decode
// or Merge; an error means that one did not.
func Merge(older, newer []byte) (body []byte, shape uint64, err error) {
	r := reader{maxDepth: maxDepth}
	o, err := r.object(older)
	if err != nil {
		return nil, 0, fmt.Errorf("BUG: merging contacts: the older body: %w", err)
	}
	n, err := r.object(newer)
	if err != nil {
		return nil, 0, fmt.Errorf("BUG: merging contacts: the newer body: %w", err)
	}
	m := merger{body: make([]byte, 0, len(older)+len(newer))}
	m.object(o, n, root)
	// A copy of the right size: the result may wait in memory for long, and most
	// merges add little to the older body.
	return bytes.Clone(m.body), m.shape, nil
}

// node is one member of an object, or a body itself.
type node struct {
	name    []byte // unescaped
	quoted  []byte // the name as it came
	raw     []byte // the value as it came
	object  bool
	members []node // of an object
	merged  bool   // has a counterpart in the older object, and is in the result
}

// object reads a body. Its errors carry no content.
func (r *reader) object(body []byte) (*node, error) {
	// Decode has refused duplicate names; looking again would be half of the cost.
	r.reset(body, jsontext.AllowDuplicateNames(true))
	var n node
	var err error
	if r.json.PeekKind() != '{' {
		return nil, errors.New("not an object")
	}
	if err = r.node(&n); err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, r.undecodable(err)
	}
	return &n, nil
}

// node reads the next value into n.
func (r *reader) node(n *node) error {
	switch r.json.PeekKind() {
	case '{':
	case '[':
		return r.array(n)
	default:
		raw, err := r.json.ReadValue()
		n.raw = raw
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	start := r.at() - 1
	n.object = true
	n.members = make([]node, 0, 8) // as many as most contacts have
	for {
		quoted, err := r.quotedName()
		if err != nil {
			return err
		}
		if quoted == nil {
			n.raw = r.value[start:r.at()]
			return nil
		}
		n.members = append(n.members, node{quoted: quoted, name: quoted[1 : len(quoted)-1]})
		member := &n.members[len(n.members)-1]
		if bytes.IndexByte(quoted, '\\') >= 0 {
			member.name, _ = jsontext.AppendUnquote(nil, quoted)
		}
		if err := r.node(member); err != nil {
			return err
		}
	}
}

// array reads an array, of which only the extent matters.
func (r *reader) array(n *node) error {
	if err := r.open(); err != nil {
		return err
	}
	start := r.at() - 1
	for r.json.PeekKind() != ']' {
		if err := r.skip(); err != nil {
			return err
		}
	}
	_, err := r.json.ReadToken()
	n.raw = r.value[start:r.at()]
	return err
}

// shape returns the sum of the hashes of the members below a node at path.
func (n *node) shape(path uint64) (sum uint64) {
	for i := range n.members {
		m := &n.members[i]
		p := pathHash(path, m.name)
		sum += p + m.shape(p)
	}
	return sum
}

// index returns the members by name, or nil where a search is faster, as it is
// for as many members as contacts have. The map keeps an object with thousands
// from taking quadratic time.
func (n *node) index() map[string]*node {
	const few = 16
	if len(n.members) <= few {
		return nil
	}
	index := make(map[string]*node, len(n.members))
	for i := range n.members {
		index[string(n.members[i].name)] = &n.members[i]
	}
	return index
}

// find returns the member of a name, or nil; index is from n.index.
func (n *node) find(index map[string]*node, name []byte) *node {
	if index != nil {
		return index[string(name)]
	}
	for i := range n.members {
		if bytes.Equal(n.members[i].name, name) {
			return &n.members[i]
		}
	}
	return nil
}

// merger writes the result.
type merger struct {
	body  []byte
	shape uint64
}

func (m *merger) object(older, newer *node, path uint64) {
	m.body = append(m.body, '{')
	start := len(m.body)
	index := newer.index()
	for i := range older.members {
		o := &older.members[i]
		n := newer.find(index, o.name)
		p := m.name(o, path, start)
		switch {
		case n == nil:
			m.value(o, p)
			continue
		case o.object && n.object:
			m.object(o, n, p)
		default:
			m.value(n, p)
		}
		n.merged = true
	}
	for i := range newer.members {
		if n := &newer.members[i]; !n.merged {
			m.value(n, m.name(n, path, start))
		}
	}
	m.body = append(m.body, '}')
}

// name writes a member's name and returns its path; start is where the object's
// members begin.
func (m *merger) name(n *node, path uint64, start int) uint64 {
	if len(m.body) > start {
		m.body = append(m.body, ',')
	}
	m.body = append(append(m.body, n.quoted...), ':')
	p := pathHash(path, n.name)
	m.shape += p
	return p
}

func (m *merger) value(n *node, path uint64) {
	m.body = append(m.body, n.raw...)
	m.shape += n.shape(path)
}
