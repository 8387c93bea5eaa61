package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestKeys_Tags(t *testing.T) {
	t.Parallel()
	snake := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, k := range Keys() {
		if k.Path == "" || seen[k.Path] {
			t.Errorf("%s.%s has no key, or that of another: %q", k.Owner, k.Field, k.Path)
		}
		seen[k.Path] = true
		for step := range strings.SplitSeq(strings.ReplaceAll(k.Path, "[]", ""), ".") {
			if !snake.MatchString(step) {
				t.Errorf("%s: %q is not snake_case", k.Path, step)
			}
		}
		// Entries of lists have no variable; every other setting has the one that
		// its key spells, so that nobody has to look it up.
		switch want := variable(k.Path); {
		case k.Group(), strings.Contains(k.Path, "[]"):
			if k.Env != "" {
				t.Errorf("%s: has the variable %s, want none", k.Path, k.Env)
			}
		case k.Env != want:
			t.Errorf("%s: has the variable %q, want %s", k.Path, k.Env, want)
		}
	}
}

// Every type that a setting has must read back what format writes.
func TestKeys_DefaultsReadBack(t *testing.T) {
	t.Parallel()
	for _, k := range Keys() {
		if k.Default == "" || k.Type.Kind() == reflect.Slice {
			continue
		}
		v := reflect.New(k.Type).Elem()
		if k.Type.Kind() == reflect.Pointer {
			v = reflect.New(k.Type.Elem()).Elem()
		}
		if err := setScalar(v, k.Default); err != nil || format(v) != k.Default {
			t.Errorf("%s: %s reads back as %s, %v", k.Path, k.Default, format(v), err)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0s": 0, "10s": 10 * time.Second, "1m": time.Minute, "1m30s": 90 * time.Second, "10m": 10 * time.Minute,
		"1h": time.Hour, "1h30m": 90 * time.Minute, "1h0m1s": time.Hour + time.Second, "10h": 10 * time.Hour, "1.5s": 1500 * time.Millisecond,
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
		if back, err := time.ParseDuration(want); err != nil || back != d {
			t.Errorf("%s reads back as %v, %v", want, back, err)
		}
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	names := []string{"linger", "max_rows", "max_bytes", "backoff_min", "backoff_max"}
	for given, want := range map[string]string{
		"lingr": "linger", "MAX_ROWS": "max_rows", "max_byte": "max_bytes", "backoff_mix": "backoff_min",
		"back": "backoff_min", "zebra": "", "": "", "m": "", strings.Repeat("x", 100_000): "",
	} {
		if got := suggest(given, names); got != want {
			t.Errorf("%.20q: got %q, want %q", given, got, want)
		}
	}
}
