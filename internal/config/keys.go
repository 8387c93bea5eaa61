package config

import (
	"encoding"
	"reflect"
	"strings"

	"github.com/contactsync/contactsync/upstream"
)

// prefix is what the names of the service's environment variables begin with.
const prefix = "CONTACTSYNC_"

// Key is one setting, or one group of settings, as a user sees it.
type Key struct {
	Path    string       // dotted, as in the file; entries of a list as name[]
	Env     string       // variable that sets it; empty for groups and what only the file can set
	Type    reflect.Type // of the field
	Default string       // as it would be written in the file; empty for groups and where there is none
	Owner   reflect.Type // struct that the field belongs to
	Field   string       // name of the field in Go
}

// Group reports whether other keys lie below this one.
func (k Key) Group() bool {
	return k.Type.Kind() == reflect.Struct || isList(k.Type)
}

// Keys lists every setting in the order of the file, groups before their members.
func Keys() []Key {
	c := DefaultConfig()
	// An entry of a list has no default of its own; an empty one shows them.
	c.Upstream.Accounts = []upstream.Account{{}}
	c.Upstream.SetDefaults()
	c.Upstream.Accounts[0].Apps = []upstream.App{{}}
	c.Upstream.SetDefaults()
	return keysOf(reflect.ValueOf(c), "")
}

// keysOf lists the fields of a struct.
func keysOf(v reflect.Value, path string) []Key {
	var keys []Key
	for field, value := range v.Fields() {
		k := Key{Path: join(path, yamlName(field)), Type: field.Type, Owner: v.Type(), Field: field.Name}
		switch {
		case isList(field.Type):
			keys = append(keys, k)
			if value.Len() > 0 {
				keys = append(keys, keysOf(value.Index(0), k.Path+"[]")...)
			}
		case field.Type.Kind() == reflect.Struct:
			keys = append(append(keys, k), keysOf(value, k.Path)...)
		default:
			if !strings.Contains(path, "[]") {
				k.Env = variable(k.Path)
			}
			k.Default = format(value)
			keys = append(keys, k)
		}
	}
	return keys
}

// variable returns the name that a key has in the environment.
func variable(key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func yamlName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	return name
}

// isList reports whether entries of the type are groups of settings.
func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// readsText reports whether values of the type read themselves from text.
func readsText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
