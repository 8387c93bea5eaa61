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
	var values []Value
	if err := p.r.effective(&values, reflect.ValueOf(c), ""); err != nil {
		return nil, fmt.Errorf("list the settings: %w", err)
	}
	return values, nil
}

// effective adds the values of a group.
func (r *report) effective(values *[]Value, group reflect.Value, path string) error {
	for field, value := range group.Fields() {
		key := join(path, yamlName(field))
		switch {
		case isList(value.Type()):
			for i := range value.Len() {
				if err := r.effective(values, value.Index(i), fmt.Sprintf("%s[%d]", key, i)); err != nil {
					return err
				}
			}
		case value.Kind() == reflect.Struct:
			if err := r.effective(values, value, key); err != nil {
				return err
			}
		default:
			text, err := (&printer{redact: true}).value(yamlName(field), value)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			*values = append(*values, Value{Key: key, Text: text, Source: r.source(key)})
		}
	}
	return nil
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
