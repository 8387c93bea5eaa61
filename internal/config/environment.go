package config

import (
	"errors"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// serviceLink matches the variables that Kubernetes sets in every pod for every
// Service of the namespace: a Service named contactsync would otherwise stop the
// service from starting.
var serviceLink = regexp.MustCompile(`^CONTACTSYNC_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// overlay lays the environment over the settings. A variable that is empty counts
// as not set.
func (r *report) overlay(environ []string, c *Config) {
	set := env.ToMap(environ)
	known := map[string]Key{}
	readers := map[reflect.Type]env.ParserFunc{}
	for _, k := range Keys() {
		if k.Env != "" {
			known[k.Env] = k
			if !readsText(k.Type) {
				readers[k.Type] = reader(k.Type)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if !strings.HasPrefix(name, prefix) || set[name] == "" {
			continue
		}
		k, is := known[name]
		if !is {
			r.unknownVariable(name, slices.Sorted(maps.Keys(known)))
			continue
		}
		// One variable at a time: the library's errors do not name theirs.
		err := env.ParseWithOptions(c, env.Options{
			Environment: map[string]string{name: set[name]}, Prefix: prefix, FuncMap: readers,
		})
		if err != nil {
			r.inVariable(name, k.Path, "%v", cause(err))
			continue
		}
		maps.DeleteFunc(r.origins, func(key string, _ origin) bool { return strings.HasPrefix(key, k.Path+"[") })
		r.origins[k.Path] = origin{from: fromEnv + name}
	}
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
	r.inVariable(name, "", "unknown variable: unset it, names that begin with %s are the service's own", prefix)
}

// reader makes the library read a type the way the file is read. A list is
// comma-separated.
func reader(t reflect.Type) env.ParserFunc {
	return func(text string) (any, error) {
		v := reflect.New(t).Elem()
		if t.Kind() != reflect.Slice {
			err := setScalar(v, strings.TrimSpace(text))
			return v.Interface(), err
		}
		for item := range strings.SplitSeq(text, ",") {
			one := reflect.New(t.Elem()).Elem()
			if err := setScalar(one, strings.TrimSpace(item)); err != nil {
				return nil, err
			}
			v = reflect.Append(v, one)
		}
		return v.Interface(), nil
	}
}

// cause strips the library's words, which name fields in Go.
func cause(err error) error {
	if e, ok := errors.AsType[env.ParseError](err); ok {
		return e.Err
	}
	return err
}
