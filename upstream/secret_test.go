package upstream

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/logbuffer"
)

func TestSecret_IsNeverWritten(t *testing.T) {
	t.Parallel()
	s := newSecret(testSecret)
	type holder struct{ hidden, Shown Secret }
	h := holder{s, s}
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var log logbuffer.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s, "h", h, "p", &h)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "h", h, "p", &h)
	written := string(encoded) + log.String() +
		fmt.Sprintf("%v %+v %#v %s %q %x %d|%v %+v %#v|%v %#v", s, s, s, s, s, s, s, h, h, h, &h, &h) + fmt.Sprint(s, h)
	if strings.Contains(written, "canary") || strings.Contains(written, fmt.Sprintf("%x", testSecret)) {
		t.Errorf("the secret was written: %s", written)
	}
	if s.reveal() != testSecret || (Secret{}).reveal() != "" {
		t.Error("the secret is lost")
	}
}
