package contactsync_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/contactsync/contactsync"
)

// Whatever prints a value that has a Text prints how long that is.
func TestText_IsNotPrinted(t *testing.T) {
	t.Parallel()
	type hidden struct{ result contactsync.Result }
	result := contactsync.Result{Text: contactsync.NewText("Zebulon"), Rows: []contactsync.Outcome{{Text: contactsync.NewText("Zebulon")}}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", result.Text)
		fmt.Fprintf(&out, verb+"\n", result)
		fmt.Fprintf(&out, verb+"\n", &hidden{result})
	}
	inJSON, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(inJSON)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "text", result.Text, "result", result)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "text", result.Text, "result", result)
	if text := out.String(); strings.Contains(text, "Zebulon") || strings.Contains(text, fmt.Sprintf("%x", "Zebulon")) || !strings.Contains(text, "[7 bytes]") {
		t.Errorf("printed:\n%s", text)
	}
	if got := result.Text.Reveal(); got != "Zebulon" {
		t.Errorf("revealed: %q", got)
	}
}
