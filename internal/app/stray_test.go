package app

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStray_IsCountedAndNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		s := &stray{log: slog.New(slog.NewTextHandler(&out, nil))}
		write := func() {
			if n, err := s.Write([]byte("Unsolicited response received on idle HTTP channel starting with \"Jane Doe\"")); n == 0 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
		write()
		write()
		time.Sleep(strayInterval)
		write()
		if text := out.String(); strings.Contains(text, "Jane") || strings.Count(text, "\n") != 2 || !strings.Contains(text, "messages=3") {
			t.Errorf("the log says:\n%s", text)
		}
	})
}
