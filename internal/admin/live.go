package admin

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// interval is how often a page is brought up to date, and how old a status may be.
	interval = time.Second
	// mostViewers bounds the connections that are kept open for pages.
	mostViewers = 16
	// slowViewer is how long a viewer may take to read one status before it is given up.
	slowViewer = 20 * time.Second
)

// live is the status as all viewers see it: however many ask, it is made once a second.
type live struct {
	content func() any
	viewers atomic.Int32

	mu   sync.Mutex
	made time.Time
	text []byte
}

// status returns the status as JSON on one line.
func (l *live) status() ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.made) < interval {
		return l.text, nil
	}
	text, err := json.Marshal(l.content())
	if err != nil {
		return nil, fmt.Errorf("write the status: %w", err)
	}
	l.made, l.text = time.Now(), text
	return text, nil
}

// once answers with the status.
func (l *live) once(w http.ResponseWriter, _ *http.Request) {
	text, err := l.status()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, jsontext.Value(text))
}

// stale has the status made anew after a decision, whose outcome somebody may look at next.
func (l *live) stale(decision http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		decision.ServeHTTP(w, r)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.made = time.Time{}
	})
}

// events sends the status once a second as server-sent events, for as long as the viewer
// reads it in time.
func (l *live) events(w http.ResponseWriter, r *http.Request) {
	if l.viewers.Add(1) > mostViewers {
		l.viewers.Add(-1)
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d pages are open already: close one, or read /api/status", mostViewers), http.StatusServiceUnavailable)
		return
	}
	defer l.viewers.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	connection := http.NewResponseController(w)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		text, err := l.status()
		if err != nil {
			return
		}
		if connection.SetWriteDeadline(time.Now().Add(slowViewer)) != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", text); err != nil || connection.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done(): // the viewer has gone, or the server stops
			return
		}
	}
}
