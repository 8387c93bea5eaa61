package batcher

import (
	"context"
	"log/slog"
	"time"

	"contactsync"
)

// remindEvery is how often a trouble that lasts is told again.
const remindEvery = time.Minute

// troubles tells the log what goes wrong with requests: the first time, once a
// minute while it lasts, and when it is over, with the number of requests that it
// cost. A line for each request would hide what matters during an outage.
type troubles struct {
	log  *slog.Logger
	open map[scope]*trouble
}

// scope is what a trouble is about: an account, or one of its streams.
type scope struct{ account, stream string }

type trouble struct {
	kind     contactsync.Kind
	requests int
	since    time.Time
	told     time.Time
}

// about says what an answer of a kind is about: a stream that is refused says
// nothing of its account, an outage says nothing of a stream.
func about(k contactsync.Kind, b contactsync.Batch) scope {
	if k == contactsync.Unauthorized || k == contactsync.StreamGone {
		return scope{b.Account, b.Stream}
	}
	return scope{account: b.Account}
}

// note takes in the result of a request.
func (t *troubles) note(now time.Time, b contactsync.Batch, r contactsync.Result) {
	switch r.Kind {
	case contactsync.Canceled:
		return
	case contactsync.Answered, contactsync.BadRequest, contactsync.TooLarge:
		t.over(now, scope{account: b.Account})
		t.over(now, scope{b.Account, b.Stream})
		return
	default:
	}
	s := about(r.Kind, b)
	p := t.open[s]
	if p == nil || p.kind != r.Kind {
		p = &trouble{kind: r.Kind, since: now}
		t.open[s] = p
	}
	if p.requests++; now.Sub(p.told) < remindEvery {
		return
	}
	p.told = now
	level := slog.LevelWarn
	if s.stream != "" || r.Kind == contactsync.Unknown {
		level = slog.LevelError // it does not pass by itself
	}
	t.log.Log(context.Background(), level, "requests are not answered; their contacts are kept and sent again",
		"kind", r.Kind.String(), "account", b.Account, "stream", b.Stream, "status", r.Status, "detail", r.Detail,
		"requests", p.requests, "since", p.since)
}

// over says that a trouble has ended.
func (t *troubles) over(now time.Time, s scope) {
	if p := t.open[s]; p != nil {
		delete(t.open, s)
		t.log.Info("requests are answered again", "account", s.account, "stream", s.stream,
			"after_kind", p.kind.String(), "requests", p.requests, "lasted", now.Sub(p.since))
	}
}
