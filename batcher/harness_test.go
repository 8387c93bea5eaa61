package batcher

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/metrics"
)

// TestMain makes the simulation the same each time: -rapid.seed=0 -rapid.checks=N runs
// as many other worlds.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "rapid.seed" })
	if !chosen && flag.Set("rapid.seed", "1") != nil {
		panic("BUG: rapid has no seed")
	}
	goleak.VerifyTestMain(m)
}

var testClaim = contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 1}, Generation: 4}

// harness is a running batcher with fakes around it. It lives in a synctest bubble.
type harness struct {
	t         *testing.T
	b         *Batcher
	start     time.Time
	offset    int64
	stop      context.CancelFunc
	m         *metrics.Set
	log       logbuffer.Buffer
	steps     int
	notBefore atomic.Int64 // since start, in nanoseconds
	lease     atomic.Int64 // for how long requests may start, from the start

	pause              atomic.Pointer[chan struct{}] // closed when the loop may go on; nil where nothing stops it
	asked, refuseStart atomic.Int64                  // questions whether a request may start, and the one that is answered no

	mu          sync.Mutex
	calls       []call
	answer      func(ctx context.Context, n int, b contactsync.Batch) contactsync.Result
	publish     func(n int) error
	refuse      func(n int, l contactsync.DeadLetter) bool // single dead letters of a write
	deadLetters []contactsync.DeadLetter
	tries       int
	ended       []int64
	parked      []int64
}

type call struct {
	at    time.Duration
	batch contactsync.Batch
}

// open lets every request through.
type open struct{}

func (open) Admit(time.Time, string, bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	return func(time.Time, contactsync.Result) time.Time { return time.Time{} }, time.Time{}
}

func (open) PerSecond() float64 { return 0 }

func newHarness(t *testing.T, change func(*Config)) *harness {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	s := &harness{t: t, start: time.Now(), answer: func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result { return allDelivered(b) }}
	s.m = metrics.New(prometheus.NewRegistry())
	s.lease.Store(math.MaxInt64)
	s.b = New(cfg, Deps{
		Sender: s, Publisher: s, Acker: s, Gates: func(string) (Gate, bool) { return open{}, true },
		MayStart: s.mayStart, NotBefore: func() time.Time { return s.start.Add(time.Duration(s.notBefore.Load())) },
		Log: slog.New(slog.NewTextHandler(&s.log, nil)), Metrics: &s.m.Batcher, DeadLetters: &s.m.DeadLetter, Seed: 1,
	})
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	ran := make(chan error, 1)
	go func() { ran <- s.b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	s.b.Assign([]contactsync.Claim{testClaim}, false)
	return s
}

// mayStart lets requests start while the lease lasts, but for the one in refuseStart.
func (s *harness) mayStart(now time.Time) bool {
	if pause := s.pause.Load(); pause != nil {
		<-*pause
	}
	return s.asked.Add(1) != s.refuseStart.Load() && now.Sub(s.start) < time.Duration(s.lease.Load())
}

func allDelivered(b contactsync.Batch) contactsync.Result {
	r := contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: make([]contactsync.Outcome, len(b.Rows))}
	for i := range r.Rows {
		r.Rows[i].Verdict = contactsync.Delivered
	}
	return r
}

func (s *harness) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	s.mu.Lock()
	s.calls = append(s.calls, call{time.Since(s.start), b})
	n, answer := len(s.calls), s.answer
	s.mu.Unlock()
	return answer(ctx, n, b)
}

func (s *harness) Publish(_ context.Context, letters []contactsync.DeadLetter) ([]contactsync.DeadLetter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.publish != nil {
		if err := s.publish(s.tries); err != nil {
			return letters, err
		}
	}
	var left []contactsync.DeadLetter
	for _, l := range letters {
		if s.refuse != nil && s.refuse(s.tries, l) {
			left = append(left, l)
		} else {
			s.deadLetters = append(s.deadLetters, l)
		}
	}
	if len(left) > 0 {
		return left, errors.New("not all")
	}
	return nil, nil
}

func (s *harness) Park(left []contactsync.Parked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range left {
		s.parked = append(s.parked, p.Offset)
	}
}

func (s *harness) Done(ended []contactsync.Ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range ended {
		s.ended = append(s.ended, p.Offset)
	}
}

// add hands over one event for each id, in order.
func (s *harness) add(ids ...string) {
	s.t.Helper()
	s.addWith(nil, ids...)
}

// addWith does so after change has changed each.
func (s *harness) addWith(change func(*event.Event), ids ...string) {
	s.t.Helper()
	s.step()
	var events []event.Event
	for _, id := range ids {
		stream := "st"
		if at := strings.IndexByte(id, '/'); at >= 0 {
			stream, id = id[:at], id[at+1:]
		}
		body := fmt.Sprintf(`{"id":%q,"seq":%d}`, id, s.offset)
		value := fmt.Sprintf(`{"streamId":%q,"contact":%s}`, stream, body)
		ev := event.Event{
			Record: contactsync.Record{Position: contactsync.Position{TopicPartition: testClaim.TopicPartition, Offset: s.offset}, Generation: testClaim.Generation, Time: time.Now(), Value: []byte(value)},
			Kind:   event.Update, Contact: event.Contact{Stream: stream, ID: id, Account: "a", Body: []byte(body), Shape: 1},
		}
		if id == "broken" {
			ev.Kind, ev.Err = event.Broken, &event.DecodeError{Reason: contactsync.ReasonInvalid, Detail: "no id"}
		}
		if change != nil {
			change(&ev)
		}
		events = append(events, ev)
		s.offset++
	}
	if err := s.b.Add(s.t.Context(), events); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

// step lets requests that start from here on see what the test has changed.
func (s *harness) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps++
}

func (s *harness) at(d time.Duration) {
	s.step()
	time.Sleep(d - time.Since(s.start))
	synctest.Wait()
}

// wantCalls compares when which rows were sent, as "500ms a b".
func (s *harness) wantCalls(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, c := range s.calls {
		line := c.at.String()
		for _, r := range c.batch.Rows {
			line += " " + r.ID
		}
		got = append(got, line)
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("calls:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (s *harness) status() Status {
	s.t.Helper()
	st, err := s.b.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *harness) wantEnded(want ...int64) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := slices.Sorted(slices.Values(s.ended))
	if !slices.Equal(got, want) {
		s.t.Fatalf("ended offsets %v, want %v", got, want)
	}
}

// testWindow is a Window without a loop around it, in a time that the test sets. Its
// events are of testClaim, which is assigned and has caught up.
type testWindow struct {
	*Window
	t      testing.TB
	set    *metrics.Set
	now    time.Time
	offset int64 // of the next event
}

func newTestWindow(t testing.TB, change func(*Config)) *testWindow {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	w := &testWindow{t: t, set: metrics.New(prometheus.NewRegistry()), now: time.Unix(1_700_000_000, 0)}
	w.Window = NewWindow(cfg, func(string) (Gate, bool) { return open{}, true }, &w.set.Batcher, 1)
	w.Assign(w.now, []contactsync.Claim{testClaim}, false)
	return w
}

// event is the next event, an update of "stream/id", or of id in the stream st.
func (w *testWindow) event(id string) *event.Event {
	stream := "st"
	if at := strings.IndexByte(id, '/'); at >= 0 {
		stream, id = id[:at], id[at+1:]
	}
	w.offset++
	return &event.Event{
		Record: contactsync.Record{
			Position:   contactsync.Position{TopicPartition: testClaim.TopicPartition, Offset: w.offset - 1},
			Generation: testClaim.Generation, Time: w.now,
		},
		Kind:    event.Update,
		Contact: event.Contact{Stream: stream, ID: id, Account: "a", Body: fmt.Appendf(nil, `{"seq":%d}`, w.offset-1), Shape: 1},
	}
}

// add adds an event for each id.
func (w *testWindow) add(ids ...string) {
	for _, id := range ids {
		w.Add(w.now, w.event(id))
	}
}

// addTo adds an event of another claim, and returns its offset.
func (w *testWindow) addTo(c contactsync.Claim, id string) int64 {
	ev := w.event(id)
	ev.Record.TopicPartition, ev.Record.Generation = c.TopicPartition, c.Generation
	w.Add(w.now, ev)
	return ev.Record.Offset
}

// remove adds a delete.
func (w *testWindow) remove(id string) {
	ev := w.event(id)
	ev.Kind = event.Delete
	w.Add(w.now, ev)
}

// send returns the next request when everything pending has lingered.
func (w *testWindow) send() *Request {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	f := w.Next(w.now)
	if f == nil {
		w.t.Fatal("no request may start")
	}
	return f
}

// refuseAlone lets a row be refused alone until it is believed: nothing else is accepted for a minute.
func (w *testWindow) refuseAlone(r contactsync.Result) {
	w.t.Helper()
	for before, tries := w.DeadLettersPending(), 0; w.DeadLettersPending() == before && tries < 2; tries++ {
		w.settle(w.send(), r)
	}
}

// settle answers a request.
func (w *testWindow) settle(f *Request, r contactsync.Result) { w.Settle(w.now, f, r) }

// wantEnded compares the offsets of the events that have ended since the last call.
func (w *testWindow) wantEnded(want ...int64) {
	w.t.Helper()
	var got []int64
	for _, e := range w.TakeEnded() {
		got = append(got, e.Offset)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("ended offsets %v, want %v", got, want)
	}
}

// ids are the contacts of a request, in order.
func ids(f *Request) string {
	if f == nil {
		return ""
	}
	var all []string
	for _, row := range f.Batch.Rows {
		all = append(all, row.ID)
	}
	return strings.Join(all, " ")
}
