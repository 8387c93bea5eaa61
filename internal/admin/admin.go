package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/contactsync/contactsync"
)

// StatusPath is where the status is to be had as JSON. /status is the same for short.
const StatusPath = "/api/status"

// shutdownTimeout is how long a last scrape may take when the server stops.
const shutdownTimeout = 2 * time.Second

// Deps provide the content of the pages.
type Deps struct {
	Gatherer prometheus.Gatherer
	Stuck    func() string // why a restart would help; empty if it would not
	NotReady func() string // why the service is not ready; empty if it is
	Status   func() any    // what the page shows, and StatusPath as JSON
	// SetAside takes an operator's decision about a batch that cannot be read, and returns
	// why it cannot be taken.
	SetAside func(p contactsync.TopicPartition, first, last int64) error
	// ResumeFeed takes one about a partition whose events cannot be read, likewise.
	ResumeFeed func(p contactsync.TopicPartition, records int64, untilReadable bool) error
	// ReleaseHold and SetHoldAside take one about a stream on hold, likewise.
	ReleaseHold  func(account, stream string) error
	SetHoldAside func(account, stream, reason string) error
	Log          *slog.Logger
}

// Server serves the pages on one listener.
type Server struct {
	http     *http.Server
	listener net.Listener
	log      *slog.Logger
}

// Listen opens the address, so that a port in use is an error before anything starts.
func Listen(ctx context.Context, addr string, deps Deps) (*Server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for admin requests on %s: %w: correct admin.listen or free the port", addr, err)
	}
	pages, closePages := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{
		listener: l, log: deps.Log,
		http: &http.Server{
			Handler:           handler(deps),
			BaseContext:       func(net.Listener) context.Context { return pages },
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    16 << 10,
		},
	}
	s.http.RegisterOnShutdown(closePages) // pages stay open until then
	return s, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers until ctx ends, and then waits for running requests, for at most
// shutdownTimeout.
func (s *Server) Serve(ctx context.Context) error {
	shutDown := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(shutDown)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := s.http.Shutdown(last); err != nil {
			s.log.Warn("admin requests were cut off", "err", errors.Join(err, s.http.Close()))
		}
	})
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin requests: %w", err)
	}
	<-shutDown // Serve returns when Shutdown begins
	return nil
}

// Close frees the listener of a server that never served.
func (s *Server) Close() error { return s.listener.Close() }

func handler(deps Deps) http.Handler {
	live := live{content: deps.Status}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(deps.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.Handle("GET /livez", probe(deps.Stuck))
	mux.Handle("GET /readyz", probe(deps.NotReady))
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET "+StatusPath, live.once)
	mux.HandleFunc("GET /status", live.once)
	mux.HandleFunc("GET /api/events", live.events)
	mux.Handle("POST "+SetAsidePath, setAside(deps.SetAside))
	mux.Handle("POST "+ResumeFeedPath, resumeFeed(deps.ResumeFeed))
	mux.Handle("POST "+ReleaseHoldPath, releaseHold(deps.ReleaseHold))
	mux.Handle("POST "+SetHoldAsidePath, setHoldAside(deps.SetHoldAside))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// probe answers 200 "ok", or 503 with the problem if there is one.
func probe(problem func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		text := problem()
		if text == "" {
			text = "ok"
		} else {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = fmt.Fprintln(w, text) // an error means that the client has gone
	})
}
