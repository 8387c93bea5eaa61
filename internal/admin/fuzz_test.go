package admin

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

// FuzzRequest sends requests as they come from a connection. None panics; only a whole
// decision by POST from the machine itself decides; a refusal is not longer than what was asked.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{
		"GET /status HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET //livez/../metrics?%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /set-aside?topic=t&partition=0&first=1&last=2 HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
		"POST /set-aside?topic=t&partition=99999999999&first=-1&last=9e9 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
		"POST /feed/resume HTTP/1.1\r\nHost: [::1]:1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 33\r\n\r\ntopic=t&partition=0&records=1&%00",
		"GET /api/explain?stream=st-1&contact=c%1b HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
		"POST /hold/release?stream=%1b%5b2J HTTP/1.1\r\nHost: localhost:1\r\nSec-Fetch-Site: cross-site\r\n\r\n",
		"POST /hold/set-aside HTTP/1.1\r\nHost: localhost:1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 70\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ns\r\n--x--\r\n......",
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	decided := 0
	one := func() error { decided++; return errors.New("no") }
	fine := func() string { return "" }
	log := slog.New(slog.DiscardHandler)
	h := newHTTP(handler(Config{}, Deps{
		Gatherer: prometheus.NewRegistry(), Log: log, Stuck: fine, NotReady: fine, Status: func() any { return 1 },
		SetAside:     func(contactsync.TopicPartition, int64, int64) error { return one() },
		ResumeFeed:   func(contactsync.TopicPartition, int64, bool) error { return one() },
		ReleaseHold:  func(string, string) error { return one() },
		SetHoldAside: func(string, string, string) error { return one() },
		Explain: func(_ context.Context, stream, contact string) (any, error) {
			if !contactsync.IsName(stream) || !contactsync.IsName(contact) {
				f.Errorf("asked of %q %q", stream, contact)
			}
			return contact, nil
		},
	}), pageConnections, log).Handler
	f.Fuzz(func(t *testing.T, text string, own bool) {
		defer bounded.Within(t, 1<<20+100*len(text))()
		if len(text) > maxHeaderBytes+2*maxBodyBytes {
			t.Skip() // the server reads no more
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil || strings.HasPrefix(req.URL.Path, "/api/events") { // which lasts
			return
		}
		decided, req.RemoteAddr = 0, "10.1.2.3:4"
		if own {
			req.RemoteAddr = "127.0.0.1:4"
		}
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req.WithContext(t.Context()))
		if decided > 1 || decided == 1 && (!own || req.Method != http.MethodPost || !loopback(req.Host) || res.Code != http.StatusConflict) {
			t.Errorf("%q decided %d times: %d", text, decided, res.Code)
		}
		if req.URL.Path == ExplainPath && res.Code == http.StatusOK && (!own || !loopback(req.Host)) {
			t.Errorf("%q is told of a contact", text)
		}
		if res.Code != http.StatusOK && res.Body.Len() > 4<<10+2*len(text) {
			t.Errorf("%q is refused with %d bytes", text, res.Body.Len())
		}
	})
}

// A decision's body is read up to a bound only.
func TestDecision_ReadsABoundedBody(t *testing.T) {
	t.Parallel()
	h := newHTTP(handler(Config{}, Deps{Gatherer: prometheus.NewRegistry(), ReleaseHold: func(string, string) error { return nil }}), pageConnections, slog.New(slog.DiscardHandler)).Handler
	for size, want := range map[int]int{maxBodyBytes / 2: http.StatusAccepted, 2 * maxBodyBytes: http.StatusBadRequest} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, ReleaseHoldPath, strings.NewReader("stream="+strings.Repeat("s", size)))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.RemoteAddr, req.Host = "127.0.0.1:4", "localhost:8080"
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req)
		if res.Code != want {
			t.Errorf("%d bytes: %d, want %d", size, res.Code, want)
		}
	}
}
