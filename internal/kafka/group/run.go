package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/crash"
)

// Group takes part in a consumer group: the loop around a Member. Run owns it; the
// other methods may be called from any goroutine.
type Group struct {
	member  *Member
	client  *client
	observe func(Event)

	do    chan func(now time.Time) // what the owner wants of the member
	ended chan struct{}            // closed when Run has returned
	next  chan *Generation
	lease atomic.Pointer[time.Time]

	// owned by Run
	stopping bool
	present  *Generation
	waiting  map[int]chan<- Done // by ticket
}

// ErrClosed says that the group is not taken part in any more.
var ErrClosed = errors.New("the group was left")

// Open returns a group; Run joins it. observe is called for each event, from Run's
// goroutine, and must not block.
func Open(cfg Config, x Exchanger, observe func(Event)) *Group {
	return &Group{
		member: New(cfg), client: newClient(x, cfg.ClientID), observe: observe,
		do: make(chan func(time.Time)), ended: make(chan struct{}), next: make(chan *Generation, 1),
		waiting: map[int]chan<- Done{},
	}
}

// answer is what came of a call.
type answer struct {
	id  int
	res response
	err error
}

// Run takes part until the member has left, which it does after Stop, or until ctx
// ends, which ends it as a crash would.
func (g *Group) Run(ctx context.Context) {
	base, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer close(g.ended)
	defer calls.Wait()
	defer cancel()

	answers := make(chan answer)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		todo := g.member.Poll(time.Now())
		lease := g.member.LeaseUntil()
		g.lease.Store(&lease)
		for _, c := range todo.Calls {
			calls.Go(func() {
				defer crash.Exit()
				ctx, cancel := context.WithTimeout(base, c.Timeout)
				defer cancel()
				res, err := g.client.do(ctx, c.To, c.Request)
				select {
				case answers <- answer{c.ID, res, err}:
				case <-base.Done():
				}
			})
		}
		for _, e := range todo.Events {
			g.observe(e)
			if g.take(base, e) {
				return
			}
		}
		if g.stopping && g.takeBack() {
			continue
		}
		if todo.Wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(todo.Wake))
		}
		select {
		case a := <-answers:
			g.member.Answer(time.Now(), a.id, a.res, a.err)
		case f := <-g.do:
			f(time.Now())
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// Stop makes the member give its assignment back, once the owner has called
// Release, and leave. It returns when that is under way.
func (g *Group) Stop() {
	_ = g.in(context.Background(), func(now time.Time) { g.stopping = true; g.member.Stop(now) }) // or Run has ended
}

// Ended is closed when Run has ended.
func (g *Group) Ended() <-chan struct{} { return g.ended }

// takeBack gives back an assignment that nobody has asked for with Next. It
// reports whether there was one.
func (g *Group) takeBack() bool {
	select {
	case a := <-g.next:
		g.member.Released(time.Now(), a.Number)
		return true
	default:
		return false
	}
}

// take passes an event on to the owner. It reports whether it was the last one.
func (g *Group) take(base context.Context, e Event) bool {
	switch e := e.(type) {
	case Assigned:
		owned, lost := context.WithCancelCause(base)
		current, asked := context.WithCancelCause(owned)
		g.present = &Generation{Assigned: e, group: g, owned: owned, lost: lost, current: current, asked: asked}
		g.next <- g.present // the one before was taken and given back
	case Release:
		g.present.asked(e.Cause)
	case Lost:
		g.present.lost(e.Cause)
	case Done:
		if c := g.waiting[e.Ticket]; c != nil {
			delete(g.waiting, e.Ticket)
			c <- e
		}
	case Left:
		return true
	case Fenced, Recreated, Trouble:
	}
	return false
}

// LeaseUntil is until when the present generation may be worked on; see
// Member.LeaseUntil. It does not need Run's goroutine to be awake.
func (g *Group) LeaseUntil() time.Time {
	if t := g.lease.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// Next waits for an assignment. Each one must be given back with Release, also
// where it has ended before it was looked at.
func (g *Group) Next(ctx context.Context) (*Generation, error) {
	select {
	case a := <-g.next:
		return a, nil
	case <-g.ended:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// TopicID asks the brokers, one after the other, which topic has a name now. It is zero
// where they do not say it, and where there is none.
func (g *Group) TopicID(ctx context.Context, topic string) (TopicID, error) {
	var failed []error
	ask := func(broker string) (response, error) {
		ctx, cancel := context.WithTimeout(ctx, g.member.cfg.short())
		defer cancel()
		return g.client.do(ctx, broker, &metadataRequest{[]string{topic}})
	}
	for _, b := range g.member.cfg.Brokers {
		res, err := ask(b)
		if err == nil {
			return existing(res.(*metadataResponse))[topic].ID, nil
		}
		failed = append(failed, err)
	}
	return TopicID{}, fmt.Errorf("ask for the id of topic %s: %w", topic, errors.Join(failed...))
}

// in runs f in Run's goroutine.
func (g *Group) in(ctx context.Context, f func(now time.Time)) error {
	select {
	case g.do <- f:
		return nil
	case <-g.ended:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Generation is one assignment, in the hands of its owner.
type Generation struct {
	Assigned
	group       *Group
	owned       context.Context
	current     context.Context
	lost, asked context.CancelCauseFunc
}

// Current ends when the assignment is to be given back. Its cause says why.
func (a *Generation) Current() context.Context { return a.current }

// Owned ends when the assignment is lost: nothing of it may be sent or committed
// any more. It does not end while the assignment is given back in order.
func (a *Generation) Owned() context.Context { return a.owned }

// Release says that nothing of the assignment is in flight any more.
func (a *Generation) Release() {
	_ = a.group.in(context.Background(), func(now time.Time) { a.group.member.Released(now, a.Number) }) // or Run has ended
	a.lost(ErrClosed)
}

// Commit commits offsets until ctx ends. Each one that it returns has its own code.
// An error matches ErrRetry, or ErrNotOwned where the assignment has ended.
func (a *Generation) Commit(ctx context.Context, offsets []Offset) ([]Offset, error) {
	return a.ask(ctx, func(until time.Time) int { return a.group.member.Commit(a.Number, offsets, until) })
}

// Fetch returns what is committed for partitions of the assignment, in the order of
// topics and partitions. It tries again until ctx or the assignment ends.
func (a *Generation) Fetch(ctx context.Context, parts []contactsync.TopicPartition) ([]Offset, error) {
	for failures := 1; ; failures++ {
		offsets, err := a.ask(ctx, func(until time.Time) int { return a.group.member.Fetch(a.Number, parts, until) })
		if !errors.Is(err, ErrRetry) {
			return offsets, err
		}
		t := time.NewTimer(min(firstRetry<<min(failures, 10), lastRetry))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}

// askTime bounds what is asked without a deadline.
const askTime = 30 * time.Second

func (a *Generation) ask(ctx context.Context, f func(until time.Time) int) ([]Offset, error) {
	until, ok := ctx.Deadline()
	if !ok {
		until = time.Now().Add(askTime)
	}
	outcome := make(chan Done, 1)
	if err := a.group.in(ctx, func(time.Time) { a.group.waiting[f(until)] = outcome }); err != nil {
		return nil, err
	}
	select {
	case d := <-outcome:
		return d.Offsets, d.Err
	case <-a.group.ended:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
