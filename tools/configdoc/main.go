// Command configdoc writes docs/configuration.md from the settings' own structs:
// keys, types and defaults from the values, descriptions from the comments of the
// fields. Run it in the root of the module: go run ./tools/configdoc.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const document = "docs/configuration.md"

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(root string) error {
	text, err := render(root)
	if err != nil {
		return err
	}
	path := filepath.Join(root, document)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}
