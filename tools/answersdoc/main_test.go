package main

import (
	"os"
	"testing"
)

// TestDocument_IsCurrent fails where the table was changed and the document was not.
func TestDocument_IsCurrent(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != render() {
		t.Errorf("%s is stale: run go run ./tools/answersdoc in the root of the module", document)
	}
}
