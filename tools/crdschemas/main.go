// Command crdschemas writes JSON schemas of custom resources, as kubeconform reads them,
// from their definitions in YAML: go run ./tools/crdschemas FOLDER FILE…
// They are strict: a field that the definition does not have is refused.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crdschemas:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("want a folder and files")
	}
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return err
	}
	for _, file := range args[1:] {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		schemas, err := convert(text)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for name, schema := range schemas {
			if err := os.WriteFile(filepath.Join(args[0], name), schema, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// convert returns the schemas of all versions of a resource, by their files' names.
func convert(definition []byte) (map[string][]byte, error) {
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct {
					Schema map[string]any `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(definition, &crd); err != nil {
		return nil, err
	}
	schemas := map[string][]byte{}
	for _, v := range crd.Spec.Versions {
		if v.Schema.Schema == nil {
			return nil, fmt.Errorf("version %s has no schema", v.Name)
		}
		text, err := json.Marshal(strict(v.Schema.Schema))
		if err != nil {
			return nil, err
		}
		schemas[strings.ToLower(fmt.Sprintf("%s-%s-%s.json", crd.Spec.Names.Kind, crd.Spec.Group, v.Name))] = text
	}
	if len(schemas) == 0 {
		return nil, errors.New("it defines no version of a resource")
	}
	return schemas, nil
}

// strict closes every object whose fields are known, and writes what JSON schema has no word
// for in its own: a number or a text.
func strict(node any) any {
	switch node := node.(type) {
	case []any:
		for i := range node {
			node[i] = strict(node[i])
		}
	case map[string]any:
		for name, value := range node {
			node[name] = strict(value)
		}
		if _, known := node["properties"].(map[string]any); known && node["x-kubernetes-preserve-unknown-fields"] != true && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		}
		if node["x-kubernetes-int-or-string"] == true {
			delete(node, "type")
			node["anyOf"] = []any{map[string]any{"type": "integer"}, map[string]any{"type": "string"}}
		}
	}
	return node
}
