package main

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/setting"
)

const intro = `# Configuration

<!-- Written by go run ./tools/configdoc from the comments in the code. Change them, not this file. -->

The settings come from three places, each overriding the one before:

1. the defaults below;
2. one YAML file, if one is named; [an example](../examples/contactsync.yaml) shows one account;
3. the environment: ` + "`CONTACTSYNC_`" + `, the section and the key, in capitals. An empty variable counts as not set.

Every error is reported at once, with its line or its variable, and any error prevents the service from starting.
Unknown keys, duplicate keys and unknown variables that begin with ` + "`CONTACTSYNC_`" + ` are errors. The variables that
Kubernetes sets for a Service of that name (` + "`CONTACTSYNC_SERVICE_HOST`, `CONTACTSYNC_PORT`" + ` and the like) are
ignored. ` + "`contactsync check --print`" + ` shows the resulting settings.

How values are written:

| type | in the file | in the environment |
| --- | --- | --- |
| text, whole number, number | as is, quotes allowed | as is |
| true or false | ` + "`true`, `false`" + ` | the same |
| duration | ` + "`500ms`, `10s`, `2m`, `1h30m`; a number needs a unit, except `0`" + ` | the same |
| size | ` + "`65536`, `64KiB`, `1MiB`, `2GiB`" + ` | the same |
| list of text | ` + "`[a, b]`" + ` or one ` + "`- a`" + ` per line; it replaces the default | ` + "`a,b`" + ` |
| list of groups, mapping | in the file only | |

The file is UTF-8, one document, at most 1 MiB, without anchors, aliases and tags. No setting holds a secret: secrets are
read from the files named by the ` + "`…_file`" + ` settings.
`

// render writes the document for the module in root. Its error names every field
// without a comment.
func render(root string) ([]byte, error) {
	var out bytes.Buffer
	var errs []error
	out.WriteString(intro)
	source := &comments{root: root, read: map[string]bool{}, text: map[string]string{}}
	for _, k := range config.Keys() {
		text, err := source.of(k.Owner, k.Field)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !strings.Contains(k.Path, ".") {
			fmt.Fprintf(&out, "\n## %s\n\n%s\n\n| key | type | default | environment | description |\n| --- | --- | --- | --- | --- |\n", k.Path, text)
			continue
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s |\n",
			code(k.Path), typeName(k), code(k.Default), code(k.Env), cell(describe(k, text)))
	}
	return out.Bytes(), errors.Join(errs...)
}

// describe drops the Go name and the verb that a comment begins with: "Linger is
// how long" becomes "How long". Before another verb the name is replaced by the
// key, unless it reads as a plain word.
func describe(k config.Key, text string) string {
	rest, ok := strings.CutPrefix(text, k.Field+" ")
	if verb, said, _ := strings.Cut(rest, " "); ok && said != "" && (verb == "is" || verb == "are") {
		return strings.ToUpper(said[:1]) + said[1:]
	}
	if !ok || !strings.ContainsFunc(k.Field[1:], unicode.IsUpper) || strings.ToUpper(k.Field) == k.Field {
		return text
	}
	return code(k.Path[strings.LastIndexByte(k.Path, '.')+1:]) + " " + rest
}

func typeName(k config.Key) string {
	t := k.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t == reflect.TypeFor[setting.Size]():
		return "size"
	case k.Group() && t.Kind() == reflect.Slice:
		return "list of groups"
	case k.Group():
		return "group"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of text"
	case reflect.Map:
		return "mapping"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "whole number"
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + cell(text) + "`"
}

// cell keeps a text from ending its cell.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
