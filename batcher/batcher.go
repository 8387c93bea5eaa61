package batcher

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// Sender makes one request and says what became of it. It returns soon after ctx
// ends.
type Sender interface {
	Send(ctx context.Context, b contactsync.Batch) contactsync.Result
}

// Publisher writes dead letters and returns those that Kafka did not
// acknowledge, with the reason. It keeps nothing.
type Publisher interface {
	Publish(ctx context.Context, letters []contactsync.DeadLetter) (failed []contactsync.DeadLetter, err error)
}

// Acker is told which events have ended. It does not block and keeps nothing of
// the slice.
type Acker interface {
	Done(ended []contactsync.Ended)
}

// Deps are the batcher's neighbours.
type Deps struct {
	Sender      Sender
	Publisher   Publisher
	Acker       Acker
	Gates       func(account string) (gate Gate, ok bool) // ok is false for an account that is not configured
	Log         *slog.Logger
	Metrics     *metrics.Batcher
	DeadLetters *metrics.DeadLetter
	Seed        uint64 // of the jitter
}

// Batcher is the loop around the Window.
type Batcher struct {
	cfg  Config
	deps Deps

	in      chan []event.Event
	control chan func(now time.Time)
	results chan response
	publish chan []*DeadLetter
	acked   chan []*DeadLetter
	stopped chan struct{} // closed when Run returns

	beat atomic.Int64 // Unix nanoseconds of the loop's last round
	idle atomic.Int64 // since when work waits that nothing will ever send; 0 if none does

	// Owned by Run.
	window   *Window
	senders  sync.WaitGroup
	releases []chan struct{} // closed when nothing is on its way any more
	troubles troubles
	teller   teller

	lettersTold time.Time // that Kafka does not take dead letters; owned by publishLoop
}

type response struct {
	request *Request
	result  contactsync.Result
}

var errStopped = errors.New("the batcher has stopped")

// New returns a batcher; Run starts it.
func New(cfg Config, deps Deps) *Batcher {
	return &Batcher{
		cfg: cfg, deps: deps,
		in:       make(chan []event.Event),
		control:  make(chan func(time.Time)),
		results:  make(chan response),
		publish:  make(chan []*DeadLetter),
		acked:    make(chan []*DeadLetter),
		stopped:  make(chan struct{}),
		window:   NewWindow(cfg, deps.Gates, deps.Metrics, deps.Seed),
		troubles: troubles{log: deps.Log, open: map[string]*trouble{}},
		teller:   teller{log: deps.Log, written: map[contactsync.Reason]int{}},
	}
}

// Run owns the window until ctx ends. Requests still on their way are given up
// then; release the partitions first to have them finished.
func (b *Batcher) Run(ctx context.Context) error {
	var publisher sync.WaitGroup
	publisher.Go(func() { b.publishLoop(ctx) })
	timer := time.NewTimer(time.Hour)
	tick := time.NewTicker(time.Second)
	defer timer.Stop()
	defer tick.Stop()
	for ctx.Err() == nil {
		b.round(ctx, timer)
		b.wait(ctx, timer, tick)
	}
	close(b.stopped)
	go func() { // the loop is gone: let go of what still arrives
		b.senders.Wait()
		close(b.results)
	}()
	for range b.results {
		continue
	}
	publisher.Wait()
	b.teller.flush(time.Now())
	return nil
}

// round starts what may start and passes on what has ended.
func (b *Batcher) round(ctx context.Context, timer *time.Timer) {
	now := time.Now()
	b.beat.Store(now.UnixNano())
	w := b.window
	if w.Full() {
		w.StopCatchingUp(now)
	}
	for f := w.Next(now); f != nil; f = w.Next(now) {
		b.start(ctx, f)
	}
	b.teller.tell(now, w.TakeLogEvents())
	b.deps.DeadLetters.Pending.Set(float64(w.DeadLettersPending()))
	if ended := w.TakeEnded(); len(ended) > 0 {
		b.deps.Acker.Done(ended)
	}
	b.finishRelease(now) // after what has ended is known: a final commit follows
	wake := w.Wake()
	if wake.IsZero() {
		wake = now.Add(time.Hour)
	}
	timer.Reset(max(wake.Sub(now), 0))
	b.noteIdle(now)
}

// noteIdle notes since when contacts wait that nothing would ever send: no
// request is out, no time is set, no partition catches up. That is a bug, and
// the one kind of standstill that a restart cures.
func (b *Batcher) noteIdle(now time.Time) {
	w := b.window
	stuck := w.pending > 0 && len(w.flights) == 0 && w.catchingUp == 0 && w.Wake().IsZero()
	switch {
	case !stuck:
		b.idle.Store(0)
	case b.idle.Load() == 0:
		b.idle.Store(now.UnixNano())
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
	case r := <-b.results:
		now := time.Now()
		b.window.Settle(now, r.request, r.result)
		b.troubles.note(now, r.request.Batch, r.result)
	case publish <- waiting:
		b.window.TakeDeadLetters()
	case letters := <-b.acked:
		b.window.DeadLettersAcked(time.Now(), letters)
		b.teller.count(letters)
	case <-timer.C:
	case now := <-tick.C:
		b.window.Expire(now)
		b.teller.remind(now, b.window.Observe(now))
		b.teller.report(now)
	}
}

// start sends one request in its own goroutine.
func (b *Batcher) start(ctx context.Context, f *Request) {
	ctx, cancel := context.WithCancel(ctx)
	f.cancel = cancel
	b.senders.Go(func() {
		defer cancel()
		b.results <- response{f, b.deps.Sender.Send(ctx, f.Batch)}
	})
}

// finishRelease gives the partitions back when nothing of them is on its way.
func (b *Batcher) finishRelease(now time.Time) {
	if len(b.releases) == 0 || !b.window.Drained(now) {
		return
	}
	b.window.Forget(now)
	for _, done := range b.releases {
		close(done)
	}
	b.releases = nil
}
