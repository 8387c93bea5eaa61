package batcher

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/crash"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// Sender makes one request and returns its result. It returns soon after ctx ends.
type Sender interface {
	Send(ctx context.Context, b contactsync.Batch) contactsync.Result
}

// Publisher writes dead letters and returns those that Kafka did not
// acknowledge, with the reason. It keeps nothing.
type Publisher interface {
	Publish(ctx context.Context, letters []contactsync.DeadLetter) (failed []contactsync.DeadLetter, err error)
}

// Acker takes the events that have ended. It does not block and keeps nothing of the
// slice.
type Acker interface {
	Done(ended []contactsync.Ended)
	// Park takes the events that are not kept and are to be read again.
	Park(left []contactsync.Parked)
}

// Deps are the batcher's neighbours.
type Deps struct {
	Sender    Sender
	Publisher Publisher
	Acker     Acker
	Gates     func(account string) (gate Gate, ok bool) // ok is false for an account that is not configured
	// Credential names the credential that signs for a stream; nil where accounts have one each.
	Credential  func(account, stream string) string
	Log         *slog.Logger
	Commands    contactsync.Commands // that the log names
	Metrics     *metrics.Batcher
	DeadLetters *metrics.DeadLetter
	Seed        uint64 // of the jitter
	// MayStart reports whether a request that starts now would end while the
	// partitions are certainly owned; nil where nobody else can own them.
	MayStart func(now time.Time) bool
	// NotBefore is until when a full window must not end the catching up: requests of an
	// earlier owner may still be applied. Nil is never.
	NotBefore func() time.Time
	// RequestTimeout bounds one request: for so long after its start the API may apply
	// one that is given up.
	RequestTimeout time.Duration
}

// Batcher is the loop around the Window.
type Batcher struct {
	cfg  Config
	deps Deps

	in        chan []event.Event
	control   chan func(now time.Time)
	responses chan response
	publish   chan []*DeadLetter
	published chan published
	stopped   chan struct{} // closed when Run returns

	beat atomic.Int64 // Unix nanoseconds of the loop's last round
	idle atomic.Int64 // since when work waits that nothing will ever send; 0 if none does

	// Owned by Run.
	window   *Window
	senders  sync.WaitGroup
	releases []chan struct{} // closed when nothing is in flight any more
}

type response struct {
	request *Request
	result  contactsync.Result
}

var errStopped = errors.New("the batcher has stopped")

// New returns a batcher; Run starts it.
func New(cfg Config, deps Deps) *Batcher {
	if deps.MayStart == nil {
		deps.MayStart = func(time.Time) bool { return true }
	}
	if deps.NotBefore == nil {
		deps.NotBefore = func() time.Time { return time.Time{} }
	}
	b := &Batcher{
		cfg: cfg, deps: deps,
		in:        make(chan []event.Event),
		control:   make(chan func(time.Time)),
		responses: make(chan response),
		publish:   make(chan []*DeadLetter),
		published: make(chan published),
		stopped:   make(chan struct{}),
		window:    NewWindow(cfg, deps.Gates, deps.Metrics, deps.Seed),
	}
	b.window.schedule.credential, b.window.log.commands = deps.Credential, deps.Commands
	return b
}

// Run owns the window until ctx ends. Requests still in flight are given up
// then; release the partitions first to have them finished.
func (b *Batcher) Run(ctx context.Context) error {
	var publisher sync.WaitGroup
	publisher.Go(func() { defer crash.Exit(); b.publishLoop(ctx) })
	timer := time.NewTimer(time.Hour)
	tick := time.NewTicker(time.Second)
	defer timer.Stop()
	defer tick.Stop()
	for ctx.Err() == nil {
		b.round(ctx, timer)
		b.wait(ctx, timer, tick)
	}
	close(b.stopped)
	go func() { // the loop has ended: what still arrives is discarded
		defer crash.Exit()
		b.senders.Wait()
		close(b.responses)
	}()
	for range b.responses {
		continue
	}
	publisher.Wait()
	b.window.log.report(time.Now(), true)
	b.writeLog()
	return nil
}

// round starts what may start and passes on what has ended.
func (b *Batcher) round(ctx context.Context, timer *time.Timer) {
	now := time.Now()
	b.beat.Store(now.UnixNano())
	w := b.window
	waits := w.Full() && now.Before(b.deps.NotBefore())
	if w.Full() && !waits {
		w.StopCatchingUp(now)
	}
	owned := b.deps.MayStart(now)
	if owned {
		for req := w.Next(now); req != nil; req = w.Next(now) {
			b.start(ctx, req)
		}
	}
	b.writeLog()
	b.deps.DeadLetters.Pending.Set(float64(w.DeadLettersPending()))
	b.passOn()
	b.finishRelease(now) // after what has ended is known: a final commit follows
	w.m.Events.Set(&w.outbox.total)
	wake := w.Wake()
	if wake.IsZero() {
		wake = now.Add(time.Hour)
	} else if !owned {
		wake = later(wake, now.Add(ownedPoll))
	}
	if at := b.deps.NotBefore(); waits && wake.After(at) {
		wake = at
	}
	timer.Reset(max(wake.Sub(now), 0))
	b.noteIdle(now)
}

// passOn tells what has ended, and what was left to be read again.
func (b *Batcher) passOn() {
	if ended := b.window.TakeEnded(); len(ended) > 0 {
		b.deps.Acker.Done(ended)
	}
	if left := (Parking{b.window}).TakeParked(); len(left) > 0 {
		b.deps.Acker.Park(left)
	}
}

// stuck reports whether contacts wait that nothing would ever send: no request is in
// flight, no time is set, no partition catches up. That is a bug, and the one kind of
// standstill that a restart cures.
func (w *Window) stuck() bool {
	return w.pending.contacts > 0 && len(w.requests) == 0 && w.claims.catchingUp == 0 && w.Wake().IsZero()
}

// noteIdle notes since when the window has stood still.
func (b *Batcher) noteIdle(now time.Time) {
	switch {
	case !b.window.stuck():
		b.idle.Store(0)
	case b.idle.Load() == 0:
		b.idle.Store(now.UnixNano())
	}
}

func (b *Batcher) writeLog() {
	for _, e := range b.window.TakeLogEvents() {
		b.deps.Log.Log(context.Background(), e.Level, e.Text, e.Args...)
	}
}

// wait takes in the next thing that happens.
func (b *Batcher) wait(ctx context.Context, timer *time.Timer, tick *time.Ticker) {
	in, publish, waiting := b.in, b.publish, b.window.DeadLettersWaiting()
	if b.window.Full() {
		in = nil // back-pressure: Add blocks until something has ended
	}
	if len(waiting) == 0 {
		publish = nil
	}
	select {
	case <-ctx.Done():
	case events := <-in:
		now := time.Now()
		for i := range events {
			b.window.Add(now, &events[i])
		}
	case f := <-b.control:
		f(time.Now())
	case r := <-b.responses:
		b.window.Settle(time.Now(), r.request, r.result)
	case publish <- waiting:
		b.window.TakeDeadLetters()
	case p := <-b.published:
		now := time.Now()
		b.window.DeadLettersAcked(now, p.acked)
		b.window.log.published(now, p)
	case <-timer.C:
	case now := <-tick.C:
		b.window.Expire(now)
		seen := b.window.Observe(now)
		b.window.log.remind(seen)
		b.window.log.full(seen)
		b.window.log.report(now, false)
	}
}

// ownedPoll is how often MayStart is asked while requests may not start.
const ownedPoll = 100 * time.Millisecond

// start sends one request in its own goroutine. The process may have been frozen
// since the decision, so MayStart is asked again.
func (b *Batcher) start(ctx context.Context, req *Request) {
	ctx, cancel := context.WithCancel(ctx)
	req.cancel, req.started = cancel, time.Now()
	b.senders.Go(func() {
		defer crash.Exit()
		defer cancel()
		result := contactsync.Result{Kind: contactsync.Canceled}
		if b.deps.MayStart(time.Now()) {
			result = b.deps.Sender.Send(ctx, req.Batch)
		}
		b.responses <- response{req, result}
	})
}

// finishRelease gives the partitions back when nothing of them is in flight.
func (b *Batcher) finishRelease(now time.Time) {
	if len(b.releases) == 0 || !b.window.Drained() {
		return
	}
	b.window.Forget(now)
	for _, done := range b.releases {
		close(done)
	}
	b.releases = nil
}
