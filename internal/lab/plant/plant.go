// Package plant holds bugs to be put between the parts of the service on
// purpose, so that it can be shown that the checker finds them. Each breaks one
// promise in the way that real consumers break it. It is part of the lab only.
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
	"commit-max":     "commits the highest offset that has ended instead of the lowest open one (I2)",
	"trust-status":   "takes a 200 for success of every row (I1)",
	"drop-on-error":  "takes an answer of 5xx for the end of the matter (I1)",
	"forget-letters": "counts a dead letter as written before Kafka has it, and never writes it (I1, I5)",
	"resend-stale":   "sends an older state of a contact once more after a newer one (I3)",
}

// Plant puts a bug into the wiring. An unknown name is an error that lists the known ones.
func Plant(name string, o *app.Options) error {
	switch name {
	case "":
	case "commit-max":
		o.WrapAcker = func(a batcher.Acker) batcher.Acker { return &commitMax{next: a, low: map[contactsync.Claim]int64{}} }
	case "trust-status":
		o.WrapSender = func(s batcher.Sender) batcher.Sender { return trustStatus{s} }
	case "drop-on-error":
		o.WrapSender = func(s batcher.Sender) batcher.Sender { return dropOnError{s} }
	case "forget-letters":
		o.WrapPublisher = func(batcher.Publisher) batcher.Publisher { return forgetLetters{} }
	case "resend-stale":
		o.WrapSender = func(s batcher.Sender) batcher.Sender {
			return &resendStale{Sender: s, first: map[string]contactsync.Row{}}
		}
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

// commitMax ends every event below the one that has ended.
type commitMax struct {
	next batcher.Acker

	mu  sync.Mutex
	low map[contactsync.Claim]int64 // first offset not yet passed on
}

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

type forgetLetters struct{}

func (forgetLetters) Publish(context.Context, []contactsync.DeadLetter) ([]contactsync.DeadLetter, error) {
	return nil, nil
}

// resendStale remembers the first state of some contacts and sends it again
// behind a newer one.
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
