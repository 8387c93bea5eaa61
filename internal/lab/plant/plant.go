// Package plant puts bugs between the parts of the service on purpose, to show
// that the checker finds them. Each breaks one promise in the way that real
// consumers break it. It starts no goroutine.
package plant

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/app"
)

// Bugs names every bug that can be planted, and what it does.
var Bugs = map[string]string{
	"commit-max":        "commits the highest offset that has ended instead of the lowest open one (I2)",
	"trust-status":      "treats every row of an answer as delivered (I1)",
	"drop-on-error":     "treats a 5xx as if every row had been delivered (I1)",
	"drop-dead-letters": "reports dead letters as written and never writes them (I1, I5)",
	"resend-stale":      "sends an older state of a contact again after a newer one (I3)",
}

// Plant puts a bug into the wiring, around a sender that o wraps already. An
// unknown name is an error that lists the known ones.
func Plant(name string, o *app.Options) error {
	wrapSender := func(bug func(batcher.Sender) batcher.Sender) {
		inner := o.WrapSender
		o.WrapSender = func(s batcher.Sender) batcher.Sender {
			if inner != nil {
				s = inner(s)
			}
			return bug(s)
		}
	}
	switch name {
	case "":
	case "commit-max":
		o.WrapAcker = func(a batcher.Acker) batcher.Acker { return &commitMax{next: a, low: map[contactsync.Claim]int64{}} }
	case "trust-status":
		wrapSender(func(s batcher.Sender) batcher.Sender { return trustStatus{s} })
	case "drop-on-error":
		wrapSender(func(s batcher.Sender) batcher.Sender { return dropOnError{s} })
	case "drop-dead-letters":
		o.WrapPublisher = func(batcher.Publisher) batcher.Publisher { return dropDeadLetters{} }
	case "resend-stale":
		wrapSender(func(s batcher.Sender) batcher.Sender {
			return &resendStale{Sender: s, first: map[string]contactsync.Row{}}
		})
	default:
		var known []string
		for b := range Bugs {
			known = append(known, b)
		}
		slices.Sort(known)
		return fmt.Errorf("bug %q is unknown: %s", name, strings.Join(known, ", "))
	}
	return nil
}

// commitMax ends every event below one that has ended.
type commitMax struct {
	next batcher.Acker

	mu  sync.Mutex
	low map[contactsync.Claim]int64 // lowest offset that has not been reported as ended
}

func (c *commitMax) Park(left []contactsync.Parked) { c.next.Park(left) }

func (c *commitMax) Done(ended []contactsync.Ended) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []contactsync.Ended
	for _, p := range ended {
		for o := c.low[p.Claim]; o <= p.Offset; o++ {
			all = append(all, contactsync.Ended{Claim: p.Claim, Offset: o})
			c.low[p.Claim] = o + 1
		}
	}
	c.next.Done(all)
}

type trustStatus struct{ batcher.Sender }

func (t trustStatus) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	r := t.Sender.Send(ctx, b)
	for i := range r.Rows {
		r.Rows[i] = contactsync.Outcome{Verdict: contactsync.Delivered}
	}
	return r
}

type dropOnError struct{ batcher.Sender }

func (d dropOnError) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	r := d.Sender.Send(ctx, b)
	if r.Status < 500 {
		return r
	}
	r.Kind, r.Rows = contactsync.Answered, make([]contactsync.Outcome, len(b.Rows))
	return trustStatus{answered{r}}.Send(ctx, b)
}

// answered is a sender that has its answer already.
type answered struct{ r contactsync.Result }

func (a answered) Send(context.Context, contactsync.Batch) contactsync.Result { return a.r }

type dropDeadLetters struct{}

func (dropDeadLetters) Publish(context.Context, []contactsync.DeadLetter) ([]contactsync.DeadLetter, error) {
	return nil, nil
}

// resendStale keeps the first state of each contact and sends it again after a
// newer one.
type resendStale struct {
	batcher.Sender

	mu    sync.Mutex
	first map[string]contactsync.Row
}

func (s *resendStale) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	r := s.Sender.Send(ctx, b)
	if r.Kind != contactsync.Answered {
		return r
	}
	stale := contactsync.Batch{Stream: b.Stream, Account: b.Account}
	s.mu.Lock()
	for _, row := range b.Rows {
		key := b.Stream + "/" + row.ID
		if old, ok := s.first[key]; ok {
			stale.Rows = append(stale.Rows, old)
		} else {
			s.first[key] = row
		}
	}
	s.mu.Unlock()
	if len(stale.Rows) > 0 {
		s.Sender.Send(ctx, stale)
	}
	return r
}
