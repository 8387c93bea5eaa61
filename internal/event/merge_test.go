package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
)

func TestMerge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, older, newer, want string }{
		{"newer wins", `{"id":"a","n":1}`, `{"id":"a","n":2}`, `{"id":"a","n":2}`},
		{"older's order, then new members", `{"c":1,"b":2}`, `{"z":3,"b":4,"a":5}`, `{"c":1,"b":4,"z":3,"a":5}`},
		{"objects merge", `{"p":{"x":1,"y":2}}`, `{"p":{"y":3,"z":4}}`, `{"p":{"x":1,"y":3,"z":4}}`},
		{"a null stays", `{"n":1}`, `{"n":null}`, `{"n":null}`},
		{"a null below stays", `{"p":{"x":1}}`, `{"p":{"x":null}}`, `{"p":{"x":null}}`},
		{"older's null stays", `{"n":null}`, `{"m":1}`, `{"n":null,"m":1}`},
		{"a null replaces an object", `{"p":{"x":1}}`, `{"p":null}`, `{"p":null}`},
		{"an object replaces a scalar", `{"p":1}`, `{"p":{"x":null,"y":{"z":1}}}`, `{"p":{"x":null,"y":{"z":1}}}`},
		{"an object replaces a null", `{"p":null}`, `{"p":{"x":1}}`, `{"p":{"x":1}}`},
		{"an object replaces an array", `{"p":[{"x":1}]}`, `{"p":{"y":1}}`, `{"p":{"y":1}}`},
		{"arrays replace", `{"p":[1,2,{"x":1}]}`, `{"p":[ {"y":1} , [] ]}`, `{"p":[ {"y":1} , [] ]}`},
		{"an empty object changes nothing", `{"p":{"x":1}}`, `{"p":{}}`, `{"p":{"x":1}}`},
		{"empty and empty", `{}`, ` { } `, `{}`},
		{"empty and some", `{}`, `{"a":1}`, `{"a":1}`},
		{"some and empty", `{"a":1,"b":[]}`, `{}`, `{"a":1,"b":[]}`},
		{"names compare unescaped", `{"n\u0061me":1}`, `{"\u006eame":2}`, `{"n\u0061me":2}`},
		{"names compare with their case", `{"n":1}`, `{"N":2}`, `{"n":1,"N":2}`},
		{"values stay as they came", `{"a":1.0}`, `{"b":1E2,"c":"\u0041\/"}`, `{"a":1.0,"b":1E2,"c":"\u0041\/"}`},
		{"white space goes outside values only", " {\n\"a\" : [ 1 ]}", `{ "b" : { "c" : 1 } }`, `{"a":[ 1 ],"b":{ "c" : 1 }}`},
		{"many members", manyMembers(0, 100, 1), manyMembers(50, 150, 2), `{` + inner(manyMembers(0, 50, 1)) + `,` + inner(manyMembers(50, 150, 2)) + `}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			older, newer := []byte(c.older), []byte(c.newer)
			got, shape, err := Merge(older, newer)
			if err != nil || string(got) != c.want {
				t.Fatalf("%s, %v\nwant %s", got, err, c.want)
			}
			if string(older) != c.older || string(newer) != c.newer {
				t.Error("the arguments have changed")
			}
			if _, again, err := Merge([]byte(`{}`), got); err != nil || again != shape {
				t.Errorf("shape %x, and %x of the result: %v", shape, again, err)
			}
		})
	}
}

// manyMembers returns an object with members named by the numbers from…to-1.
func manyMembers(from, to, value int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, `,"%d":%d`, i, value)
	}
	return "{" + b.String()[1:] + "}"
}

func inner(object string) string { return object[1 : len(object)-1] }

func TestMerge_ReportsWhatDecodeWouldHaveRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{``, `[]`, `null`, `{"john":"doe}`, `{}{}`, `{"john":[}`, "{\"john\":\"\xff\"}", strings.Repeat(`{"john":`, 2000)} {
		for _, pair := range [][2]string{{bad, `{}`}, {`{}`, bad}} {
			_, _, err := Merge([]byte(pair[0]), []byte(pair[1]))
			if err == nil || !strings.HasPrefix(err.Error(), "BUG: ") || strings.Contains(err.Error(), "john") {
				t.Errorf("merging %.40q with %.40q: %v: want a BUG without content", pair[0], pair[1], err)
			}
		}
	}
}

// A value between two objects hides the older one only while it is there, so the
// pairing counts.
func TestMerge_OrderOfPairingCountsAcrossAValueBetweenObjects(t *testing.T) {
	t.Parallel()
	a, b, c := `{"p":{"x":1}}`, `{"p":null}`, `{"p":{"y":2}}`
	if got := mustMerge(t, mustMerge(t, a, b), c); got != `{"p":{"y":2}}` {
		t.Errorf("from the oldest on: %s", got)
	}
	if got := mustMerge(t, a, mustMerge(t, b, c)); got != `{"p":{"x":1,"y":2}}` {
		t.Errorf("the newer two first: %s", got)
	}
}

func mustMerge(t interface {
	Helper()
	Fatal(...any)
}, older, newer string,
) string {
	t.Helper()
	body, _, err := Merge([]byte(older), []byte(newer))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// compose is the reference: Merge on maps.
func compose(older, newer any) any {
	o, ok1 := older.(map[string]any)
	n, ok2 := newer.(map[string]any)
	if !ok1 || !ok2 {
		return newer
	}
	result := maps.Clone(o)
	for name, value := range n {
		if old, ok := o[name]; ok {
			value = compose(old, value)
		}
		result[name] = value
	}
	return result
}

func parse(t *rapid.T, body []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return v
}

// objects draws contacts as maps with few names, so that they often meet. With
// stable, each name always has an object or never.
func objects(stable bool, depth int) *rapid.Generator[map[string]any] {
	leaf := rapid.OneOf(
		rapid.Just[any](nil), rapid.Just[any]("x\"\\\u00e9\u2028"), rapid.Just[any](true),
		rapid.Map(rapid.IntRange(-3, 3), func(i int) any { return float64(i) }),
		rapid.Just[any]([]any{}), rapid.Just[any]([]any{map[string]any{"n": 1.0}, nil}),
	)
	return rapid.Custom(func(t *rapid.T) map[string]any {
		object := map[string]any{}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"n", "m", "N", "", "é\"", "p", "q", "a/b"}), 0, 5, rapid.ID).Draw(t, "names") {
			nested := name == "p" || name == "q"
			if !stable {
				nested = rapid.Bool().Draw(t, "nested")
			}
			switch {
			case !nested:
				object[name] = leaf.Draw(t, "value")
			case depth > 0:
				object[name] = objects(stable, depth-1).Draw(t, "object")
			}
		}
		return object
	})
}

// write writes a value in a random order of members, with random escapes in
// names and random white space.
func write(t *rapid.T, v any) []byte {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
	object, ok := v.(map[string]any)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range rapid.Permutation(slices.Sorted(maps.Keys(object))).Draw(t, "order") {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(space.Draw(t, "space") + `"`)
		for _, r := range name {
			if r == '"' || rapid.Bool().Draw(t, "escape") {
				fmt.Fprintf(&b, `\u%04x`, r)
			} else {
				b.WriteRune(r)
			}
		}
		b.WriteString(`"` + space.Draw(t, "space") + `:` + space.Draw(t, "space"))
		b.Write(write(t, object[name]))
	}
	b.WriteString(space.Draw(t, "space") + `}`)
	return b.Bytes()
}

// contactOf makes an object a contact that Decode takes.
func contactOf(object map[string]any) map[string]any {
	object["id"] = "a"
	return object
}

// decodeBody returns the body and shape as Decode gives them.
func decodeBody(t *rapid.T, d *Decoder, body []byte) Contact {
	e := d.Decode(contactsync.Record{Value: slices.Concat([]byte(`{"streamId":"s","contact":`), body, []byte(`}`))})
	if e.Kind != Update {
		t.Fatalf("%s: %v", body, e.Err)
	}
	return e.Contact
}

func TestMerge_EqualsReference(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, lenient)
	rapid.Check(t, func(t *rapid.T) {
		older := contactOf(objects(false, 3).Draw(t, "older"))
		newer := contactOf(objects(false, 3).Draw(t, "newer"))
		o, n := decodeBody(t, d, write(t, older)), decodeBody(t, d, write(t, newer))
		got, shape, err := Merge(o.Body, n.Body)
		if err != nil {
			t.Fatal(err)
		}
		want := compose(older, newer)
		if !reflect.DeepEqual(parse(t, got), want) {
			t.Fatalf("%s and %s make %s: want %v", o.Body, n.Body, got, want)
		}
		if again := decodeBody(t, d, got); again.Shape != shape {
			t.Fatalf("shape %x of %s: Decode says %x", shape, got, again.Shape)
		}
		if equal := reflect.DeepEqual(paths(older, ""), paths(newer, "")); equal != (o.Shape == n.Shape) {
			t.Fatalf("shapes %x of %s and %x of %s", o.Shape, o.Body, n.Shape, n.Body)
		}
		if o.Shape == n.Shape && !reflect.DeepEqual(want, any(newer)) {
			t.Fatalf("%s and %s have one shape, but do not make the newer", o.Body, n.Body)
		}
	})
}

// paths returns the names of all members, as a shape should tell them apart.
func paths(object map[string]any, above string) map[string]bool {
	all := map[string]bool{}
	for name, value := range object {
		path := fmt.Sprintf("%s/%q", above, name)
		all[path] = true
		if inner, ok := value.(map[string]any); ok {
			maps.Copy(all, paths(inner, path))
		}
	}
	return all
}

func TestMerge_EqualShapesLeaveTheNewer(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, lenient)
	rapid.Check(t, func(t *rapid.T) {
		older := contactOf(objects(false, 3).Draw(t, "older"))
		newer := revalue(t, older).(map[string]any)
		newer["id"] = "a"
		o, n := decodeBody(t, d, write(t, older)), decodeBody(t, d, write(t, newer))
		if o.Shape != n.Shape {
			t.Fatalf("shapes %x of %s and %x of %s", o.Shape, o.Body, n.Shape, n.Body)
		}
		got, shape, err := Merge(o.Body, n.Body)
		if err != nil || shape != n.Shape || !reflect.DeepEqual(parse(t, got), any(newer)) {
			t.Fatalf("%s and %s make %s with shape %x, %v", o.Body, n.Body, got, shape, err)
		}
	})
}

// revalue keeps the names and changes the values. An object without members may
// become any value: the names do not tell.
func revalue(t *rapid.T, v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return rapid.SampledFrom([]any{nil, 4.0, "y", []any{"z"}, map[string]any{}}).Draw(t, "value")
	}
	changed := map[string]any{}
	for name, value := range object {
		changed[name] = revalue(t, value)
	}
	return changed
}

func TestMerge_Associative(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := objects(true, 3)
		a, b, c := string(write(t, g.Draw(t, "a"))), string(write(t, g.Draw(t, "b"))), string(write(t, g.Draw(t, "c")))
		left := mustMerge(t, mustMerge(t, a, b), c)
		right := mustMerge(t, a, mustMerge(t, b, c))
		if !reflect.DeepEqual(parse(t, []byte(left)), parse(t, []byte(right))) {
			t.Fatalf("%s, %s, %s make %s or %s", a, b, c, left, right)
		}
	})
}

// The names are the same, and each pair of bodies differs in which is below which.
func TestShape_TellsWhereAMemberIs(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, lenient)
	shape := func(body string) uint64 {
		e := d.Decode(contactsync.Record{Value: []byte(`{"streamId":"s","contact":` + body + `}`)})
		if e.Kind != Update {
			t.Fatalf("%s: %v", body, e.Err)
		}
		return e.Contact.Shape
	}
	for _, pair := range [][2]string{
		{`{"id":"i","a":{"b":1}}`, `{"id":"i","b":{"a":1}}`},
		{`{"id":"i","a":{"b":1},"c":{"d":1}}`, `{"id":"i","a":{"d":1},"c":{"b":1}}`},
		{`{"id":"i","a":{"b":1,"c":1}}`, `{"id":"i","a":{"b":1},"c":1}`},
	} {
		if shape(pair[0]) == shape(pair[1]) {
			t.Errorf("%s and %s have one shape", pair[0], pair[1])
		}
	}
}
