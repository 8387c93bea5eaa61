package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// serviceLink matches the variables that Kubernetes sets in every pod for every
// Service of the namespace: a Service named contactsync would otherwise stop the
// service from starting.
var serviceLink = regexp.MustCompile(`^CONTACTSYNC_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// overlay applies the environment over the settings. A variable that is empty, or holds blanks
// only, counts as not set.
func (r *report) overlay(environ []string, c *Config) {
	known := map[string]Key{}
	for _, k := range Keys() {
		if k.Env != "" {
			known[k.Env] = k
		}
	}
	set := map[string]string{}
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		set[name] = text
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if !strings.HasPrefix(name, prefix) || strings.TrimSpace(set[name]) == "" {
			continue
		}
		k, is := known[name]
		if !is {
			r.unknownVariable(name, slices.Sorted(maps.Keys(known)))
			continue
		}
		if err := setVariable(settingAt(c, k.Path), set[name]); err != nil {
			r.inVariable(name, k.Path, "%v", err)
			continue
		}
		maps.DeleteFunc(r.origins, func(key string, _ origin) bool { return strings.HasPrefix(key, k.Path+"[") })
		r.origins[k.Path] = origin{from: fromEnv + name}
	}
}

// settingAt returns the field of a setting that lies in no list.
func settingAt(c *Config, path string) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for step := range strings.SplitSeq(path, ".") {
		for field, value := range v.Fields() {
			if yamlName(field) == step {
				v = value
				break
			}
		}
	}
	return v
}

// setVariable reads text into v as the file is read. A list is comma-separated.
func setVariable(v reflect.Value, text string) error {
	if v.Kind() != reflect.Slice {
		return setScalar(v, strings.TrimSpace(text))
	}
	items := strings.Split(text, ",")
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if err := setScalar(list.Index(i), strings.TrimSpace(item)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (r *report) unknownVariable(name string, known []string) {
	if serviceLink.MatchString(name) {
		return
	}
	for _, k := range Keys() {
		if own := variable(k.Path); isList(k.Type) && (name == own || strings.HasPrefix(name, own+"_")) {
			r.inVariable(name, "", "%s can only be set in the file", k.Path)
			return
		}
	}
	// Compared without what all have in common, which would make all seem alike.
	for i := range known {
		known[i] = strings.TrimPrefix(known[i], prefix)
	}
	if likely := suggest(strings.TrimPrefix(name, prefix), known); likely != "" {
		r.inVariable(name, "", "unknown variable: did you mean %s?", prefix+likely)
		return
	}
	r.inVariable(name, "", "unknown variable: names that begin with %s are reserved for the service", prefix)
}
