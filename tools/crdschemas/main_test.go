package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const definition = `
spec:
  group: example.com
  names: {kind: Probe}
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          properties:
            metadata: {type: object}
            spec:
              type: object
              properties:
                port: {x-kubernetes-int-or-string: true}
                free: {type: object, properties: {a: {type: string}}, x-kubernetes-preserve-unknown-fields: true}
                labels: {type: object, additionalProperties: {type: string}}
                list: {type: array, items: {type: object, properties: {name: {type: string}}}}
`

func TestConvert_ClosesWhatIsKnown(t *testing.T) {
	t.Parallel()
	schemas, err := convert([]byte(definition))
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(schemas["probe-example.com-v1.json"], &schema); err != nil {
		t.Fatal(err)
	}
	at := func(path string) (node map[string]any) {
		node = schema.(map[string]any)
		for name := range strings.FieldsSeq(path) {
			node = node[name].(map[string]any)
		}
		return node
	}
	for path, want := range map[string]string{
		"":                                      "false",
		"properties metadata":                   "<nil>",
		"properties spec":                       "false",
		"properties spec properties free":       "<nil>",
		"properties spec properties labels":     "map[type:string]",
		"properties spec properties list items": "false",
	} {
		if got := fmt.Sprint(at(path)["additionalProperties"]); got != want {
			t.Errorf("%q: additionalProperties are %s, want %s", path, got, want)
		}
	}
	if port := at("properties spec properties port"); len(port["anyOf"].([]any)) != 2 {
		t.Errorf("a number or a text is %v", port)
	}
}

func TestConvert_RefusesWhatDefinesNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"kind: Service\n", "spec: {group: a, names: {kind: B}, versions: [{name: v1}]}\n"} {
		if _, err := convert([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
