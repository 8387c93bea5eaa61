package config

import (
	"fmt"
	"reflect"
)

// Value is one setting in force and where it came from, for a reader: what may be secret is
// left out, as Redacted does.
type Value struct {
	Key    string `json:"key"` // dotted, as in the file; entries of a list as name[0]
	Text   string `json:"value"`
	Source string `json:"source"` // default, the file and its line, or environment and the variable
}

// Effective lists the settings in the order of the file.
func (p Places) Effective(c Config) ([]Value, error) {
	values, err := p.r.effective(reflect.ValueOf(c), "")
	if err != nil {
		return nil, fmt.Errorf("list the settings: %w", err)
	}
	return values, nil
}

func (r *report) effective(v reflect.Value, path string) (values []Value, err error) {
	add := func(more []Value, failed error) bool {
		values, err = append(values, more...), failed
		return err == nil
	}
	for field, value := range v.Fields() {
		key := join(path, yamlName(field))
		switch {
		case isList(value.Type()):
			for i := range value.Len() {
				if !add(r.effective(value.Index(i), fmt.Sprintf("%s[%d]", key, i))) {
					return nil, err
				}
			}
		case value.Kind() == reflect.Struct:
			if !add(r.effective(value, key)) {
				return nil, err
			}
		default:
			text, err := (&printer{redact: true}).value(yamlName(field), value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			values = append(values, Value{Key: key, Text: text, Source: r.source(key)})
		}
	}
	return values, nil
}

// source says where the value of a key was set. A variable may set a whole list; in a file
// each value has a line of its own.
func (r *report) source(key string) string {
	if o, known := r.origins[key]; known && o.from == FromFile {
		return fmt.Sprintf("%s:%d", r.file, o.line)
	}
	for ; key != ""; key = parent(key) {
		if o, known := r.origins[key]; known && o.from != FromFile {
			return o.from
		}
	}
	return FromDefault
}
