package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
)

// closer is an API that closes connections. hears decides about each request, before its body is read: nil
// answers it, anything else ends the connection when it returns.
type closer struct {
	hears    func(conn, request int) func(net.Conn, *http.Request)
	listener net.Listener // on a real socket; see client

	mu     sync.Mutex
	bodies [][]byte // of every request that was answered
	opened int
	heard  int
}

// client starts the API on a real socket, and returns a client of it, without a budget, and what ends both.
func (c *closer) client(t *testing.T) (client *testClient, end func()) {
	t.Helper()
	var err error
	if c.listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { c.serve(c.listener.Accept, &serving) })
	requests := 0
	client = newTestClient(t, "http://"+c.listener.Addr().String(), func(cfg *Config, _ *Deps) { cfg.Accounts[0].Budget.Requests = &requests })
	return client, func() {
		client.Close()
		_ = c.listener.Close()
		serving.Wait()
	}
}

func (c *closer) serve(accept func() (net.Conn, error), done *sync.WaitGroup) {
	for {
		conn, err := accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		n := c.opened
		c.opened++
		c.mu.Unlock()
		done.Go(func() { c.connection(conn, n) })
	}
}

func (c *closer) connection(conn net.Conn, n int) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for i := 0; ; i++ {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		c.mu.Lock()
		c.heard++
		end := c.hears(n, i)
		c.mu.Unlock()
		if end != nil {
			end(conn, req)
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		c.mu.Lock()
		c.bodies = append(c.bodies, body)
		c.mu.Unlock()
		text := goodAnswer(batchOf("a"))
		resp := http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(text)), Body: io.NopCloser(bytes.NewReader(text)), Close: req.Close}
		if resp.Write(conn) != nil || req.Close {
			return
		}
	}
}

// The ways in which a connection ends while a request is on it.
var (
	unread   = func(net.Conn, *http.Request) {}
	halfRead = func(_ net.Conn, r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2) }
	wholly   = func(_ net.Conn, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	begun    = func(c net.Conn, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(c, "H")
	}
	failing = func(c net.Conn, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(c, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}
)

// TestSend_ConnectionIsClosed has an API that closes connections without a word, on real sockets.
func TestSend_ConnectionIsClosed(t *testing.T) {
	t.Parallel()
	type end = func(net.Conn, *http.Request)
	const d, x, a = "delivered", "failed", "failed, ambiguous" // of each request in turn
	// After so many requests on each connection the next one ends it.
	after := func(n int, how end) func(conn, request int) end {
		return func(_, request int) end {
			if request >= n {
				return how
			}
			return nil
		}
	}
	// The second request on the first connection ends it, and then each first one on a connection does.
	then := func(how end) func(conn, request int) end {
		return func(conn, request int) end {
			switch {
			case conn > 0:
				return how
			case request > 0:
				return wholly
			}
			return nil
		}
	}
	for _, tt := range []struct {
		name    string
		hears   func(conn, request int) end
		want    []string
		redials int
		failed  int // as the breaker counts
	}{
		{"idle, before the next request is read", after(1, unread), []string{d, d, d, d, d, d}, 3, 0},
		{"idle, half-way in the next request", after(1, halfRead), []string{d, d, d, d, d, d}, 3, 0},
		{"idle, once the next request is read", after(1, wholly), []string{d, d, d, d, d, d}, 3, 0},
		{"after four requests", after(4, wholly), []string{d, d, d, d, d, d, d, d, d, d, d}, 2, 0},
		{"within an answer", after(1, begun), []string{d, a, d, a}, 0, 2},
		{"new, once the request is read", after(0, wholly), []string{a, a, a}, 0, 3},
		{"used, and the new one as well", then(wholly), []string{d, a, a}, 1, 2},
		{"used, and 500 on the new one", then(failing), []string{d, a, x}, 1, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := &closer{hears: tt.hears}
			c, end := api.client(t)
			gate, _ := c.Gate(testAccount)
			b := batchOf("a")
			var got []string
			for range tt.want {
				report, _ := gate.Admit(time.Now(), testStream, false)
				r := c.Send(t.Context(), b)
				report(time.Now(), r)
				switch {
				case r.Kind == contactsync.Answered:
					got = append(got, d)
				case r.Kind == contactsync.Unavailable && r.Ambiguous:
					got = append(got, a)
				default:
					got = append(got, x)
				}
			}
			end()
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if n := testutil.ToFloat64(c.metrics.Redials.WithLabelValues(testAccount)); n != float64(tt.redials) {
				t.Errorf("%v requests were made once more, want %d", n, tt.redials)
			}
			if want := len(tt.want) + tt.redials; api.heard != want {
				t.Errorf("the API has heard %d requests, want %d", api.heard, want)
			}
			if n := gate.breaker.steps.Counts().TotalFailures; n != uint32(tt.failed) {
				t.Errorf("the host failed %d times, want %d", n, tt.failed)
			}
			whole := c.bodies.encode(b.Rows, time.Time{}).data
			for _, body := range api.bodies {
				if !bytes.Equal(body, whole) {
					t.Errorf("%s was sent, want %s", body, whole)
				}
			}
		})
	}
}

// What looks for the row at which the API ends connections has one of its own each time: none that others use ends for it,
// and no call is spent to make it again.
func TestSend_IsolationHasAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	api := &closer{hears: func(conn, _ int) func(net.Conn, *http.Request) {
		if conn == 1 {
			return wholly
		}
		return nil
	}}
	c, end := api.client(t)
	for i, want := range []contactsync.Kind{contactsync.Answered, contactsync.Unavailable, contactsync.Answered, contactsync.Answered} {
		b := batchOf("a")
		if i == 1 || i == 2 {
			b.Purpose = contactsync.Isolation
		}
		if got := c.Send(t.Context(), b); got.Kind != want {
			t.Errorf("request %d: %+v", i, got)
		}
	}
	end()
	if api.heard != 4 || api.opened != 3 {
		t.Errorf("four requests were heard %d times on %d connections, want one for the ordinary ones and two for the others", api.heard, api.opened)
	}
}

// The host is gone when the request is made once more: nothing of the second one was sent, but the first
// one may be applied.
func TestSend_ConnectionIsClosedAndNoneIsMade(t *testing.T) {
	t.Parallel()
	api := &closer{}
	api.hears = func(_, request int) func(net.Conn, *http.Request) {
		if request == 0 {
			return nil
		}
		return func(net.Conn, *http.Request) { _ = api.listener.Close() }
	}
	c, end := api.client(t)
	for i, want := range []contactsync.Kind{contactsync.Answered, contactsync.Unavailable, contactsync.Unavailable} {
		if got := c.Send(t.Context(), batchOf("a")); got.Kind != want || got.Ambiguous != (i == 1) || got.MayBeRows {
			t.Errorf("request %d: %+v", i, got)
		}
	}
	end()
}

// The second request is a call like any other: it waits for the budget, before requests that were not admitted
// yet. Where no call is left in its time it is not made, which says nothing of the host.
func TestSend_ConnectionIsClosedAndTheBudgetIsUsed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		timeout time.Duration
		want    contactsync.Kind
		took    time.Duration
		heard   int
	}{
		"in time":     {30 * time.Second, contactsync.Answered, 10010 * time.Millisecond, 3},
		"not in time": {5 * time.Second, contactsync.Canceled, 5 * time.Second, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				api := &closer{hears: func(conn, request int) func(net.Conn, *http.Request) {
					if conn == 0 && request > 0 {
						return wholly
					}
					return nil
				}}
				var serving sync.WaitGroup
				serving.Go(func() { api.serve(p.Accept, &serving) })
				requests := 6 // one each ten seconds
				c := newTestClient(t, "http://api.test", func(cfg *Config, deps *Deps) {
					cfg.Timeout, deps.Dial = tt.timeout, p.dial
					cfg.Accounts[0].Budget = Budget{Requests: &requests, Window: 50 * time.Second, Burst: 1, Share: ShareFull}
				})
				gate, _ := c.Gate(testAccount)
				send := func() contactsync.Result {
					report, again := gate.Admit(time.Now(), testStream, false)
					for report == nil {
						time.Sleep(time.Until(again))
						report, again = gate.Admit(time.Now(), testStream, false)
					}
					r := c.Send(t.Context(), batchOf("a"))
					report(time.Now(), r)
					return r
				}
				if got := send(); got.Kind != contactsync.Answered {
					t.Errorf("the first: %+v", got)
				}
				report, again := gate.Admit(time.Now(), testStream, false)
				for report == nil {
					time.Sleep(time.Until(again))
					report, again = gate.Admit(time.Now(), testStream, false)
				}
				started := time.Now()
				others, stop := context.WithCancel(t.Context())
				var asking sync.WaitGroup
				var admitted []time.Time
				asking.Go(func() { // the others are always ready
					for others.Err() == nil {
						if _, again := gate.Admit(time.Now(), "st-other", false); again.IsZero() {
							admitted = append(admitted, time.Now())
						} else {
							time.Sleep(time.Until(again))
						}
					}
				})
				got := c.Send(t.Context(), batchOf("a"))
				report(time.Now(), got)
				if took := time.Since(started).Truncate(10 * time.Millisecond); got.Kind != tt.want || got.Ambiguous != (tt.want == contactsync.Canceled) || took != tt.took {
					t.Errorf("after %v: %+v", took, got)
				}
				if n := gate.breaker.steps.Counts().TotalFailures; n != 0 {
					t.Errorf("the host failed %d times", n)
				}
				stop()
				asking.Wait()
				if len(admitted) > 0 {
					t.Errorf("others were admitted %v after it was", admitted[0].Sub(started))
				}
				if report, _ := gate.Admit(time.Now(), testStream, false); report != nil {
					t.Error("another request is admitted at once: the second one was not charged")
				}
				c.Close()
				_ = p.Close()
				serving.Wait()
				if api.heard != tt.heard {
					t.Errorf("the API has heard %d requests, want %d", api.heard, tt.heard)
				}
			})
		})
	}
}
