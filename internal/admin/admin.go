package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/crash"
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
	// Answers lists the texts of the API that are kept, without their words; Answer returns one.
	Answers func() any
	Answer  func(hash string) (found any, ok bool)
	// SetAside takes an operator's decision about a batch that cannot be read, and returns
	// why it cannot be taken.
	SetAside func(p contactsync.TopicPartition, first, last int64) error
	// ResumeFeed takes one about a partition whose events cannot be read, likewise.
	ResumeFeed func(p contactsync.TopicPartition, records int64, untilReadable bool) error
	// ReleaseHold and SetHoldAside take one about a stream on hold, likewise.
	ReleaseHold  func(account, stream string) error
	SetHoldAside func(account, stream, reason string) error
	// Explain says what is known of a contact, or returns why it cannot before ctx ends.
	Explain func(ctx context.Context, stream, contact string) (any, error)
	Log     *slog.Logger
}

// Bounds of what clients can take. A connection speaks HTTP/1 and so has one request at a
// time: the limit of connections is also one of requests and of the goroutines that answer.
const (
	pageConnections  = 32
	probeConnections = 16
	headerTimeout    = 5 * time.Second
	readTimeout      = 10 * time.Second
	writeTimeout     = 30 * time.Second // /debug/pprof adds the time of a profile
	idleTimeout      = time.Minute
	maxHeaderBytes   = 16 << 10
	maxBodyBytes     = 64 << 10
)

// Server serves the pages, and the probes on a listener of their own if there is one.
type Server struct {
	pages, probes *endpoint // probes may be nil
	log           *slog.Logger
}

// endpoint is one listener and what answers on it.
type endpoint struct {
	http      *http.Server
	listener  net.Listener
	webConfig string // file; empty: neither TLS nor users
}

// Listen opens the addresses, so that a port in use is an error before anything starts.
func Listen(ctx context.Context, cfg Config, deps Deps) (*Server, error) {
	if err := cfg.checkWebConfig(); err != nil {
		return nil, fmt.Errorf("admin.web_config_file: %w", err)
	}
	s := &Server{log: deps.Log}
	var err error
	if s.pages, err = listen(ctx, "admin.listen", cfg.Listen, handler(cfg, deps), pageConnections, deps.Log); err != nil {
		return nil, err
	}
	s.pages.webConfig = cfg.WebConfigFile
	if cfg.ProbeListen == "" {
		return s, nil
	}
	if s.probes, err = listen(ctx, "admin.probe_listen", cfg.ProbeListen, probeHandler(deps), probeConnections, deps.Log); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func listen(ctx context.Context, key, addr string, pages http.Handler, most int, log *slog.Logger) (*endpoint, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for admin requests on %s: %w: correct %s or free the port", addr, err, key)
	}
	open, closePages := context.WithCancel(context.WithoutCancel(ctx))
	server := newHTTP(pages, most, log)
	server.BaseContext = func(net.Listener) context.Context { return open }
	server.RegisterOnShutdown(closePages) // pages stay open until then
	return &endpoint{listener: l, http: server}, nil
}

func newHTTP(pages http.Handler, most int, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           unharmed(http.MaxBytesHandler(pages, maxBodyBytes), log),
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// What strangers do wrong is theirs to know: they could fill the log with it.
		ErrorLog: slog.NewLogLogger(contentless{log.Handler()}, slog.LevelDebug),
	}
	s.Protocols.SetHTTP1(true)
	newConnections(most).bound(s)
	return s
}

// unharmed answers a request whose handler panics with 500. net/http would print the value of the panic.
func unharmed(pages http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(http.ErrAbortHandler) // which says that nobody reads on
			default:
				log.Error("BUG: answering an admin request panicked", "panic", crash.Said(v), "stack", string(debug.Stack()))
				http.Error(w, "a bug: the log tells it", http.StatusInternalServerError)
			}
		}()
		pages.ServeHTTP(w, r)
	})
}

// Addr returns the address of all pages.
func (s *Server) Addr() string { return s.pages.listener.Addr().String() }

// ProbeAddr returns the address of the probes alone, and the empty string without one.
func (s *Server) ProbeAddr() string {
	if s.probes == nil {
		return ""
	}
	return s.probes.listener.Addr().String()
}

// Serve answers until ctx ends, and then waits for running requests, for at most
// shutdownTimeout.
func (s *Server) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range s.endpoints() {
		group.Go(func() error { defer crash.Exit(); return e.serve(ctx, s.log) })
	}
	return group.Wait()
}

func (s *Server) endpoints() []*endpoint {
	if s.probes == nil {
		return []*endpoint{s.pages}
	}
	return []*endpoint{s.pages, s.probes}
}

func (e *endpoint) serve(ctx context.Context, log *slog.Logger) error {
	shutDown := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(shutDown)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := e.http.Shutdown(last); err != nil {
			log.Warn("admin requests were cut off", "err", errors.Join(err, e.http.Close()))
		}
	})
	defer stop()
	if err := web.Serve(e.listener, e.http, &web.FlagConfig{WebConfigFile: &e.webConfig}, slog.New(warnings{contentless{log.Handler()}})); !errors.Is(err, http.ErrServerClosed) {
		return errors.New("serve admin requests: " + withoutContent(fmt.Sprint(err)))
	}
	<-shutDown // Serve returns when Shutdown begins
	return nil
}

// warnings drops what is below a warning: the library tells of protocols that are not spoken here.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// contentless drops what the library quotes of the file with the users.
type contentless struct{ slog.Handler }

func (c contentless) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, withoutContent(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Value.Kind() == slog.KindString {
			a.Value = slog.StringValue(withoutContent(a.Value.String()))
		}
		clean.AddAttrs(a)
		return true
	})
	return c.Handler.Handle(ctx, clean)
}

// Close frees the listeners of a server that never served.
func (s *Server) Close() error {
	var err error
	for _, e := range s.endpoints() {
		err = errors.Join(err, e.listener.Close())
	}
	return err
}

// probeHandler answers the probes alone.
func probeHandler(deps Deps) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", probe(deps.Stuck))
	mux.Handle("GET /readyz", probe(deps.NotReady))
	return mux
}

func handler(cfg Config, deps Deps) http.Handler {
	live := live{content: deps.Status}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(deps.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	probes := probeHandler(deps)
	mux.Handle("/livez", probes)
	mux.Handle("/readyz", probes)
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET "+StatusPath, live.once)
	mux.HandleFunc("GET /status", live.once)
	mux.HandleFunc("GET /api/events", live.events)
	mux.Handle("GET "+AnswersPath, cfg.privately(answers(deps.Answers)))
	mux.Handle("GET "+AnswersPath+"/{hash}", cfg.privately(answer(deps.Answer)))
	mux.Handle("GET "+ExplainPath, cfg.privately(explain(deps.Explain)))
	mux.Handle("POST "+SetAsidePath, live.stale(setAside(deps.SetAside)))
	mux.Handle("POST "+ResumeFeedPath, live.stale(resumeFeed(deps.ResumeFeed)))
	mux.Handle("POST "+ReleaseHoldPath, live.stale(releaseHold(deps.ReleaseHold)))
	mux.Handle("POST "+SetHoldAsidePath, live.stale(setHoldAside(deps.SetHoldAside)))
	if cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
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
