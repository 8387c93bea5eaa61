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

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// shutdownTime is how long a last scrape may take when the server stops.
const shutdownTime = 2 * time.Second

// Deps are what the pages ask.
type Deps struct {
	Gatherer prometheus.Gatherer
	Live     func() string // why a restart would help; empty while all is well
	Ready    func() string // why the service is not ready; empty when it is
	Status   func() any    // what /status shows, as JSON
	Log      *slog.Logger
}

// Server answers on one listener.
type Server struct {
	http     *http.Server
	listener net.Listener
	log      *slog.Logger
}

// Listen opens the address, so that a port in use is known before anything starts.
func Listen(ctx context.Context, addr string, deps Deps) (*Server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for admin requests on %s: %w: correct admin.listen or free the port", addr, err)
	}
	return &Server{
		listener: l, log: deps.Log,
		http: &http.Server{
			Handler:           handler(deps),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    16 << 10,
		},
	}, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers until ctx ends, then lets requests under way finish.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if err := s.http.Shutdown(last); err != nil {
			s.log.Warn("admin requests were cut off", "err", err)
		}
	})
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin requests: %w", err)
	}
	return nil
}

// Close frees the listener of a server that never served.
func (s *Server) Close() error { return s.listener.Close() }

func handler(deps Deps) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(deps.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.Handle("GET /livez", probe(deps.Live))
	mux.Handle("GET /readyz", probe(deps.Ready))
	mux.Handle("GET /status", status(deps.Status))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// status answers with JSON for a person or a script.
func status(of func() any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.Marshal(of(), jsontext.WithIndent("  "))
		if err != nil {
			http.Error(w, "write the status: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(text, '\n')) // whoever asked has gone: nothing to do about it
	})
}

// probe answers 200 "ok", or 503 with the reason.
func probe(why func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		reason := why()
		if reason == "" {
			reason = "ok"
		} else {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if _, err := fmt.Fprintln(w, reason); err != nil {
			return // the prober is gone
		}
	})
}
