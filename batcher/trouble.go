package batcher

import (
	"context"
	"log/slog"
	"time"

	"github.com/contactsync/contactsync"
)

// remindEvery is how often a trouble that lasts is told again.
const remindEvery = time.Minute

// troubles tells the log what goes wrong with the requests of an account: the
// first time, once a minute while it lasts, and when it is over, with the number
// of requests that it cost. A line for each request would hide what matters during
// an outage. What goes wrong with one stream is told by its hold.
type troubles struct {
	log  *slog.Logger
	open map[string]*trouble // by account
}

type trouble struct {
	kind     contactsync.Kind
	requests int
	since    time.Time
	told     time.Time
}

// note takes in the result of a request.
func (t *troubles) note(now time.Time, b contactsync.Batch, r contactsync.Result) {
	switch r.Kind {
	case contactsync.Unavailable, contactsync.Throttled, contactsync.Unknown:
	case contactsync.Answered, contactsync.BadRequest, contactsync.TooLarge:
		t.over(now, b.Account)
		return
	default:
		return
	}
	p := t.open[b.Account]
	if p == nil || p.kind != r.Kind {
		p = &trouble{kind: r.Kind, since: now}
		t.open[b.Account] = p
	}
	if p.requests++; now.Sub(p.told) < remindEvery {
		return
	}
	p.told = now
	level := slog.LevelWarn
	if r.Kind == contactsync.Unknown {
		level = slog.LevelError // it does not pass by itself
	}
	t.log.Log(context.Background(), level, "requests are not answered; their contacts are kept and sent again",
		"kind", r.Kind.String(), "account", b.Account, "stream", b.Stream, "status", r.Status, "detail", r.Detail,
		"requests", p.requests, "since", p.since)
}

// over says that a trouble has ended.
func (t *troubles) over(now time.Time, account string) {
	if p := t.open[account]; p != nil {
		delete(t.open, account)
		t.log.Info("requests are answered again", "account", account,
			"after_kind", p.kind.String(), "requests", p.requests, "lasted", now.Sub(p.since))
	}
}
