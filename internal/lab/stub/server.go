package stub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	pathStart = "/agentassist/api/v1/public/"
	pathEnd   = "/contacts/bulk-update"
	pathList  = "/contacts"
)

// Server is the API. It is an http.Handler; Start gives it a listener of its own.
type Server struct {
	cfg     Config
	reject  globs
	start   time.Time
	gate    *gate
	limit   *limiter
	script  *script
	count   *counters
	journal *journal
	slots   chan struct{} // nil without MaxInFlight
	calls   sync.Pool
	order   atomic.Int64
	pages   *http.ServeMux
	closing chan struct{} // closed to end every wait
	late    sync.WaitGroup
	serving sync.WaitGroup
	working sync.WaitGroup // calls, also those whose connection was hijacked
	close   sync.Once

	mu      sync.RWMutex
	streams map[string]*streamState
	done    bool         // no call begins any more
	http    *http.Server // nil before Start
	url     string
	err     error // of serving
}

// New returns a stub. Its error names the rule of the scenario that is invalid.
func New(cfg Config) (*Server, error) {
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []string{"HS256"}
	}
	if cfg.RateStatus == 0 {
		cfg.RateStatus = http.StatusTooManyRequests
	}
	s := &Server{
		cfg: cfg, reject: globsOf(cfg.Reject), start: time.Now(),
		gate: newGate(cfg), limit: newLimiter(cfg.RateLimit, cfg.RateWindow),
		script: &script{seed: cfg.Seed}, count: newCounters(),
		journal: &journal{keep: cfg.KeepRows, out: cfg.Log},
		closing: make(chan struct{}), streams: map[string]*streamState{},
	}
	s.calls.New = func() any { return &call{parser: newParser()} }
	if cfg.MaxInFlight > 0 {
		s.slots = make(chan struct{}, cfg.MaxInFlight)
	}
	for _, r := range cfg.Scenario.Rules {
		if err := s.script.put(r, s.start); err != nil {
			return nil, fmt.Errorf("set up the scenario: %w", err)
		}
	}
	s.pages = s.routes()
	return s, nil
}

// Start listens on addr ("127.0.0.1:0" for a free port) and serves until Close.
func (s *Server) Start(addr string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("start the stub: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url = "http://" + ln.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	srv := s.http
	s.serving.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
	})
	return nil
}

// Suspend closes the listener and cuts off every connection, as a host does that
// goes away: until Resume, a client's connection is refused.
func (s *Server) Suspend() {
	s.mu.Lock()
	srv := s.http
	s.http = nil
	s.mu.Unlock()
	if srv != nil {
		_ = srv.Close() // no client is warned: that is the fault
		s.serving.Wait()
	}
}

// Resume listens at the former address again. It does nothing unless the server is suspended.
func (s *Server) Resume() error {
	s.mu.RLock()
	listening, addr := s.http != nil, strings.TrimPrefix(s.url, "http://")
	s.mu.RUnlock()
	if listening {
		return nil
	}
	return s.Start(addr)
}

// Started is the time that Call.Received and Call.Done count from.
func (s *Server) Started() time.Time { return s.start }

// URL is the base address of a started stub, without a slash at the end.
func (s *Server) URL() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.url
}

// Close ends every wait, gives running calls two seconds to finish, drops rows that
// were still to be applied late, and returns the error of serving, if any. Counters
// and log stay readable.
func (s *Server) Close() error {
	s.close.Do(func() { close(s.closing) })
	s.mu.RLock()
	srv := s.http
	s.mu.RUnlock()
	if srv != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close() // what has not finished is cut off
		}
	}
	s.serving.Wait()
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
	s.working.Wait()
	s.late.Wait()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.err
}

// ServeHTTP answers the API's path and the stub's own pages.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The raw path is checked: an escaped slash or dot must not make another stream of the name.
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), pathStart)
	stream, tail := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		stream, tail = rest[:i], rest[i:]
	}
	name, err := url.PathUnescape(stream)
	switch {
	case !ok:
		s.pages.ServeHTTP(w, r)
	case ok && tail == pathList && r.Method == http.MethodGet && err == nil:
		s.list(w, r, name)
	case tail != pathEnd, err != nil, name == "", strings.ContainsAny(name, "/\\"), name == ".", name == "..":
		sendRefusal(w, refusal{http.StatusNotFound, "Not Found", 0}, 0)
	case s.begin():
		defer s.working.Done()
		s.bulkUpdate(w, r, name)
	default:
		panic(http.ErrAbortHandler)
	}
}

// list answers who asks for contacts; it has none to show.
func (s *Server) list(w http.ResponseWriter, r *http.Request, stream string) {
	account := r.Header.Get("accountId")
	ref, _ := s.gate.check(r.Header, account, stream)
	if ref.status == 0 && !s.limit.take(account, time.Now()) {
		ref = refusal{s.cfg.RateStatus, rateLimitText, 0}
	}
	if ref.status != 0 {
		sendRefusal(w, ref, 0)
		return
	}
	send(w, http.StatusOK, "application/json", []byte(`{"results":[],"skip":0,"limit":1,"hasMore":false,"totalPages":0,"totalResults":0}`))
}

func (s *Server) begin() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.done {
		s.working.Add(1)
	}
	return !s.done
}

// Put adds a rule to the running stub, or replaces the one of its name. From and
// To count from now.
func (s *Server) Put(r Rule) error { return s.script.put(r, time.Now()) }

// Turn switches a rule on or off and reports whether there is one of that name.
func (s *Server) Turn(name string, on bool) bool { return s.script.turn(name, !on, time.Now()) }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	n := s.count.snapshot()
	n.Seconds = time.Since(s.start).Seconds()
	s.journal.mu.Lock()
	n.Unlogged, n.LogBroken = s.journal.dropped, s.journal.err != nil
	s.journal.mu.Unlock()
	return n
}

// Calls returns the log in the order in which the calls ended. Its rows are shared: they are not to be changed.
func (s *Server) Calls() []Call {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return append([]Call(nil), s.journal.calls...)
}

// State returns, by stream and contact, the seq that was applied last; contacts
// that were never applied are left out.
func (s *Server) State() map[string]map[string]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make(map[string]map[string]int64, len(s.streams))
	for name, state := range s.streams {
		all[name] = state.seqs()
	}
	return all
}

func (s *streamState) seqs() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	seqs := make(map[string]int64, len(s.contacts))
	for id, c := range s.contacts {
		if c.applied > 0 {
			seqs[id] = c.last
		}
	}
	return seqs
}

// Reset forgets contacts, log, counters and used budget. Rules stay.
func (s *Server) Reset() {
	s.mu.Lock()
	s.streams = map[string]*streamState{}
	s.mu.Unlock()
	s.journal.reset()
	s.count.reset()
	s.limit.reset()
}

func (s *Server) stream(name string) *streamState {
	s.mu.RLock()
	state := s.streams[name]
	s.mu.RUnlock()
	if state != nil {
		return state
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if state = s.streams[name]; state == nil {
		state = &streamState{contacts: map[string]*contact{}}
		s.streams[name] = state
	}
	return state
}

// wait returns after d, or false when the stub closes or done is closed first.
func (s *Server) wait(d time.Duration, done <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
	case <-s.closing:
	}
	return false
}

func (s *Server) latency() time.Duration {
	d := s.cfg.Latency
	if s.cfg.Jitter > 0 {
		d += rand.N(s.cfg.Jitter)
	}
	return d
}
