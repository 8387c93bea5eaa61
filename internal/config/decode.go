package config

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// decode applies the tree over the settings. The walk is the package's own, because
// the library's stops at the first error and converts some types silently.
func (r *report) decode(root ast.Node, c *Config) {
	if root != nil {
		r.value(root, "", lineOf(root), reflect.ValueOf(c).Elem())
	}
}

// value reads one node into v and reports whether v was set. line is that of the
// key, where an operator looks first.
func (r *report) value(n ast.Node, key string, line int, v reflect.Value) bool {
	if key != "" {
		r.origins[key] = origin{line: line, from: FromFile}
	}
	_, null := n.(*ast.NullNode)
	group := !readsText(v.Type()) && (v.Kind() == reflect.Struct || v.Kind() == reflect.Slice || v.Kind() == reflect.Map)
	switch {
	case null && group:
		return false // a heading whose entries are commented out
	case null:
		r.atLine(line, key, "has no value: set one or remove the key")
		return false
	case v.Kind() == reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		if !r.value(n, key, line, target.Elem()) {
			return false
		}
		v.Set(target)
		return true
	case !group:
		return r.scalar(n, key, line, v)
	case v.Kind() == reflect.Struct:
		return r.mapping(n, key, line, v)
	case v.Kind() == reflect.Slice:
		return r.sequence(n, key, line, v)
	}
	return r.free(n, key, line, v)
}

// mapping reads a group of settings.
func (r *report) mapping(n ast.Node, key string, line int, v reflect.Value) bool {
	entries, ok := n.(*ast.MappingNode)
	if !ok {
		what := "is"
		if key == "" {
			what = "the file is"
		}
		r.atLine(line, key, "%s %s, but settings are expected here: write key: value, one per line", what, kind(n))
		return false
	}
	fields := map[string]reflect.Value{}
	var names []string
	for field, value := range v.Fields() {
		fields[yamlName(field)] = value
		names = append(names, yamlName(field))
	}
	first := map[string]int{}
	for _, e := range entries.Values {
		name, line := keyText(e.Key), lineOf(e.Key)
		below := join(key, name)
		field, known := fields[name]
		switch {
		case !known:
			r.unknown(below, name, line, key, names)
		case first[name] > 0:
			r.atLine(line, below, "duplicate key: first on line %d", first[name])
		default:
			first[name] = line
			r.value(e.Value, below, line, field)
		}
	}
	return true
}

// unknown reports a key that is no setting, with the one that was likely meant:
// one spelled nearly so here, or one of the same name elsewhere.
func (r *report) unknown(key, name string, line int, group string, names []string) {
	likely := suggest(name, names)
	if likely != "" {
		likely = join(group, likely)
	} else {
		likely = elsewhere(name)
	}
	if likely == "" {
		r.atLine(line, key, "unknown key")
		return
	}
	r.atLine(line, key, "unknown key: did you mean %s?", likely)
}

// elsewhere returns the setting of another group that has the name, or whose
// name goes on from it.
func elsewhere(name string) string {
	longer := ""
	for _, k := range Keys() {
		last := k.Path[strings.LastIndexByte(k.Path, '.')+1:]
		if last == name {
			return k.Path
		}
		if longer == "" && len(name) >= minHint && strings.HasPrefix(last, name) {
			longer = k.Path
		}
	}
	return longer
}

// sequence reads a list of settings or of plain values. It replaces the default.
func (r *report) sequence(n ast.Node, key string, line int, v reflect.Value) bool {
	items, ok := n.(*ast.SequenceNode)
	if !ok {
		r.atLine(line, key, "is %s, but a list is expected: write [a, b], or - a, one per line", kind(n))
		return false
	}
	list := reflect.MakeSlice(v.Type(), len(items.Values), len(items.Values))
	good := true
	for i, item := range items.Values {
		// Even a broken entry keeps its place, so that the others keep their numbers.
		name := fmt.Sprintf("%s[%d]", key, i)
		good = r.value(item, name, lineOf(item), list.Index(i)) && good
		if r.broken[name] && isList(v.Type()) {
			r.broken[key] = true // what the others say of this entry's defaults would mislead
		}
	}
	v.Set(list)
	return good
}

// scalar reads one plain value. Numbers and switches are taken as written, so
// that an id like 007 keeps its zeros.
func (r *report) scalar(n ast.Node, key string, line int, v reflect.Value) bool {
	var text string
	switch n := n.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = n.Value.Value
	case *ast.MappingNode, *ast.SequenceNode:
		r.atLine(line, key, "is %s, but a single value is expected", kind(n))
		return false
	default:
		text = n.GetToken().Value
	}
	if err := setScalar(v, text); err != nil {
		r.atLine(line, key, "%v", err)
		return false
	}
	return true
}

// free reads a mapping whose keys are the user's own.
func (r *report) free(n ast.Node, key string, line int, v reflect.Value) bool {
	if _, ok := n.(*ast.MappingNode); !ok {
		r.atLine(line, key, "is %s, but a mapping is expected: write name: value, one per line", kind(n))
		return false
	}
	target := reflect.New(v.Type())
	if err := yaml.NodeToValue(n, target.Interface()); err != nil {
		at, problem := syntax(err)
		r.atLine(max(at, line), key, "%s", problem)
		return false
	}
	if err := sound(target.Elem().Interface()); err != nil {
		r.atLine(line, key, "%v", err)
		return false
	}
	v.Set(target.Elem())
	return true
}

// sound refuses what the user's own values may not hold anywhere, as they end in JSON.
func sound(value any) error {
	switch value := value.(type) {
	case string:
		if !printable(value) {
			return errUnprintable
		}
	case float64:
		if math.IsInf(value, 0) || math.IsNaN(value) {
			return fmt.Errorf("%v is not a number in JSON", value)
		}
	case []any:
		for _, item := range value {
			if err := sound(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, item := range value {
			if err := cmp.Or(sound(name), sound(item)); err != nil {
				return err
			}
		}
	}
	return nil
}

func keyText(n ast.MapKeyNode) string {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value
	}
	return n.GetToken().Value
}

func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	return "a single value"
}
