package app

import (
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/config"
)

func TestNewLogger(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"json": `"level":"WARN","msg":"late","after":"1m30s","n":2}`,
		"text": `level=WARN msg=late after=1m30s n=2`,
	} {
		var out strings.Builder
		log := NewLogger(config.Log{Level: "warn", Format: format}, &out)
		log.Info("below the level")
		log.Warn("late", "after", 90*time.Second, "n", 2)
		if got := out.String(); !strings.HasSuffix(got, want+"\n") || strings.Contains(got, "below the level") {
			t.Errorf("%s: %s", format, got)
		}
	}
}
