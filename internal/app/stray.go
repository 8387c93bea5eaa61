package app

import (
	"context"
	stdlog "log"
	"log/slog"
	"sync"
	"time"
)

// strayInterval is how often the log says that text was dropped.
const strayInterval = time.Minute

// stray takes what libraries print through package log. net/http prints parts of answers
// there, which may name people, so no word of it is kept.
type stray struct {
	log *slog.Logger

	mu    sync.Mutex
	count int
	said  time.Time
}

// DropStrayText has what libraries print through package log counted in place of printed, as
// long as the process lives.
func DropStrayText(log *slog.Logger) {
	stdlog.SetFlags(0)
	stdlog.SetOutput(&stray{log: log})
}

// Write drops one message.
func (s *stray) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if now := time.Now(); now.Sub(s.said) >= strayInterval {
		s.said = now
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "a library had something to say that may quote an answer, so it was dropped: the API, or a proxy before it, breaks the rules of HTTP",
			slog.Int("messages", s.count), slog.Int("bytes", len(p)))
	}
	return len(p), nil
}
