package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/contactsync/contactsync/internal/setting"
)

// maxScalar bounds the text of a number, size, duration or switch, so that an
// error never quotes a page.
const maxScalar = 64

// errUnprintable also covers the line break at the end of YAML's text blocks.
var errUnprintable = errors.New("contains a line break, a tab or another unprintable character: write it on one line")

// printable reports whether the text can be a name, path or pattern. Others come
// from a slip of the editor and would fail far from here.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// setScalar reads one value from its text. The file and the environment share
// it, so that both take the same spellings and explain themselves alike.
func setScalar(v reflect.Value, text string) error {
	if v.Kind() == reflect.String {
		if !printable(text) {
			return errUnprintable
		}
		v.SetString(text)
		return nil
	}
	if len(text) > maxScalar {
		return fmt.Errorf("is %d bytes long: %s", len(text), wanted(v.Type()))
	}
	if readsText(v.Type()) {
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	var err error
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		var d time.Duration
		if d, err = time.ParseDuration(text); err == nil {
			if d.Abs() > setting.MaxDuration {
				return fmt.Errorf("%s is longer than a year (%v)", text, setting.MaxDuration)
			}
			v.SetInt(int64(d))
		}
	case v.CanInt():
		var n int64
		if n, err = strconv.ParseInt(text, 10, v.Type().Bits()); err == nil {
			v.SetInt(n)
		}
	case v.CanFloat():
		var f float64
		if f, err = strconv.ParseFloat(text, v.Type().Bits()); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			v.SetFloat(f)
		} else {
			err = strconv.ErrSyntax
		}
	case v.Kind() == reflect.Bool && (text == "true" || text == "false"):
		v.SetBool(text == "true")
	default:
		err = strconv.ErrSyntax
	}
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%s is too large or too small a number", text)
	}
	if err != nil {
		return fmt.Errorf("%q is %s", text, wanted(v.Type()))
	}
	return nil
}

// wanted says what text a value of the type is not, and how to write one.
func wanted(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "not a duration: write a number with a unit, like 500ms, 10s or 2m"
	case t.Kind() == reflect.Bool:
		return "neither true nor false"
	case t.Kind() == reflect.Float32, t.Kind() == reflect.Float64:
		return "not a number"
	case readsText(t):
		return "not a value of this setting"
	}
	return "not a whole number"
}

// format writes a value the way setScalar reads it. What is not set is empty.
func format(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return format(v.Elem())
	case v.Type() == reflect.TypeFor[time.Duration]():
		return formatDuration(time.Duration(v.Int()))
	case v.Kind() == reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = format(v.Index(i))
		}
		return strings.Join(items, ",")
	case v.Kind() == reflect.Map:
		return "" // no map has a default
	}
	return fmt.Sprint(v.Interface())
}

// formatDuration leaves out the zero minutes and seconds that String adds: 1m, not 1m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
