//go:build proof

package proof

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

// limits are what an API takes without saying so. Zero: any number.
type limits struct {
	rows, bytes int
	truncates   bool // it reads the first rows and answers for these; otherwise what is above resets the connection
	perRow      time.Duration
}

// gateway stands before a model of the API, with limits of its own.
type gateway struct {
	simulated

	mu    sync.Mutex
	has   limits
	calls []gatewayCall
}

type gatewayCall struct {
	at          time.Time
	rows, bytes int
	above       bool
}

// set changes the limits.
func (g *gateway) set(has limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.has = has
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var rows []json.RawMessage
	if err != nil || json.Unmarshal(body, &rows) != nil {
		panic(http.ErrAbortHandler)
	}
	g.mu.Lock()
	has := g.has
	above := has.rows > 0 && len(rows) > has.rows || has.bytes > 0 && len(body) > has.bytes
	g.calls = append(g.calls, gatewayCall{time.Now(), len(rows), len(body), above})
	g.mu.Unlock()
	switch {
	case above && !has.truncates:
		panic(http.ErrAbortHandler)
	case above:
		if body, err = json.Marshal(rows[:has.rows]); err != nil {
			panic(err)
		}
	}
	time.Sleep(time.Duration(len(rows)) * has.perRow) // whether its client waits or not
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	g.simulated.ServeHTTP(w, r)
}
