package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/contactsync/contactsync/internal/keyfile"
)

// YAML prints the settings as a file that Load reads back to the same settings.
func (c Config) YAML() ([]byte, error) { return print(c, false) }

// Redacted prints the settings without what may be secret: the values of claims, and the
// name of a file that nothing has, which is where a secret is written by mistake.
func (c Config) Redacted() ([]byte, error) { return print(c, true) }

func print(c Config, redact bool) ([]byte, error) {
	p := printer{redact: redact}
	if err := p.group(reflect.ValueOf(c), ""); err != nil {
		return nil, fmt.Errorf("print the settings: %w", err)
	}
	return p.out.Bytes(), nil
}

type printer struct {
	out    bytes.Buffer
	redact bool
}

const redacted = "[redacted]"

// group writes a struct, one key per line. The YAML library's writer is not
// used: it leaves texts without quotes that its reader takes for something else.
func (p *printer) group(v reflect.Value, indent string) error {
	for field, value := range v.Fields() {
		fmt.Fprintf(&p.out, "%s%s:", indent, yamlName(field))
		switch {
		case isList(value.Type()):
			if value.Len() == 0 {
				p.out.WriteString(" []")
			}
			p.out.WriteByte('\n')
			for i := range value.Len() {
				entry := printer{redact: p.redact}
				if err := entry.group(value.Index(i), indent+"    "); err != nil {
					return err
				}
				fmt.Fprintf(&p.out, "%s  - %s", indent, strings.TrimLeft(entry.out.String(), " "))
			}
		case value.Kind() == reflect.Struct:
			p.out.WriteByte('\n')
			if err := p.group(value, indent+"  "); err != nil {
				return err
			}
		default:
			text, err := p.value(yamlName(field), value)
			if err != nil {
				return fmt.Errorf("%s: %w", yamlName(field), err)
			}
			fmt.Fprintf(&p.out, " %s\n", text)
		}
	}
	return nil
}

func (p *printer) value(name string, v reflect.Value) (string, error) {
	switch {
	case !p.redact:
	case strings.HasSuffix(name, "_file") && v.String() != "" && !keyfile.Exists(v.String()):
		return quote(redacted + " no such file")
	case v.Kind() == reflect.Map:
		hidden := map[string]any{} // whose values are the user's own
		for _, key := range v.MapKeys() {
			hidden[key.String()] = redacted
		}
		return printAny(hidden)
	}
	return printValue(v)
}

// printValue writes everything that is no group on one line.
func printValue(v reflect.Value) (string, error) {
	switch {
	case v.Kind() == reflect.String:
		return quote(v.String())
	case v.Kind() == reflect.Slice:
		items := make([]any, v.Len())
		for i := range items {
			items[i] = v.Index(i).Interface()
		}
		return printAny(items)
	case v.Kind() == reflect.Map:
		return printAny(v.Interface())
	case v.Kind() == reflect.Pointer && v.IsNil():
		return "", fmt.Errorf("no value for a %s: call SetDefaults", v.Type().Elem())
	}
	return format(v), nil
}

// printAny writes the user's own values.
func printAny(value any) (string, error) {
	var parts []string
	switch value := value.(type) {
	case string:
		return quote(value)
	case float64:
		// The reader takes a number with an exponent for a text.
		text := strconv.FormatFloat(value, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text, nil
	case []any:
		for _, item := range value {
			text, err := printAny(item)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
		return "[" + strings.Join(parts, ", ") + "]", nil
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			key, err := quote(name)
			if err != nil {
				return "", err
			}
			text, err := printAny(value[name])
			if err != nil {
				return "", err
			}
			parts = append(parts, key+": "+text)
		}
		return "{" + strings.Join(parts, ", ") + "}", nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// Words that need no quotes, and those among them that some readers of YAML take
// for something else than text.
var (
	bare  = regexp.MustCompile(`^[A-Za-z_/]([A-Za-z0-9/._:-]*[A-Za-z0-9])?$`)
	words = []string{"true", "false", "yes", "no", "on", "off", "y", "n", "null"}
)

// quote writes a text. What JSON quotes, YAML reads alike.
func quote(text string) (string, error) {
	if bare.MatchString(text) && !slices.Contains(words, strings.ToLower(text)) {
		return text, nil
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}
