package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/upstream"
)

// API is how letters are sent past the topic.
type API struct {
	Client   *upstream.Client
	Progress *Progress
	MaxRows  int // of one request
	MaxBytes int
	Attempts int           // of a row that the answers leave open
	Hold     time.Duration // before a request is repeated that the API may still apply
}

// row is one letter on its way to the API.
type row struct {
	*target

	older     []*target // letters of the contact that an earlier run has begun: this one pays their debt
	state     state     // what is sent next, or was sent last
	owed      bool      // the API has the letter's contact in some state of ours, or may have: it must get the newest
	delivered bool      // the API has state
	original  bool      // the API had the letter's own state
	attempts  int
	result    Result // empty until it has ended
	detail    string
}

// ToAPI sends the letters' contacts to the API, in the requests and with the budget
// of the client. The service may send meanwhile: after each answer the log is read
// up to its end, and a contact that has a newer event by then gets that state too,
// until there is nothing newer. So an older state does not stay over a newer one.
//
// An answer that says nothing of the rows is waited out and the request repeated. When
// ctx ends, the request under way is finished, and the rest is left for the next run.
// What the next run has to send before all is right again, Progress.Owed tells.
func (r *Replayer) ToAPI(ctx context.Context, letters []*deadletter.Entry, api API) (Summary, error) {
	s := &sender{Replayer: r, api: api, wait: backoff.NewExponentialBackOff(), refused: map[string]int{}, closed: map[streamOf]string{}}
	s.wait.InitialInterval, s.wait.MaxInterval = 500*time.Millisecond, 30*time.Second
	targets, err := r.plan(ctx, letters)
	if err == nil {
		err = s.inBatches(ctx, s.rows(targets))
	}
	r.leave(targets)
	if n := api.Progress.Owed(); n > 0 {
		r.deps.Logger.Warn("contacts may be in an older state at the API: run it again with the same progress file, and with filters and a limit that take in these letters",
			"letters", n, "like", api.Progress.likeOwed())
	}
	if err != nil {
		return r.summary, fmt.Errorf("replay to the API: %w: run it again with the same progress file to go on", err)
	}
	return r.summary, nil
}

// DryRunToAPI tells what would become of the letters if they were sent to the API now,
// by a run with that progress.
func (r *Replayer) DryRunToAPI(ctx context.Context, letters []*deadletter.Entry, progress *Progress) (Summary, error) {
	targets, err := r.plan(ctx, letters)
	if err != nil {
		return r.summary, err
	}
	s := &sender{Replayer: r, api: API{Progress: progress}}
	for _, w := range s.rows(targets) {
		switch n := w.newer; {
		case r.room() == 0:
			r.end(w.target, Left, "")
		case n != nil && n.kind == event.Update:
			r.end(w.target, Newer, fmt.Sprintf("%v at %v, which is owed and would be sent", n.kind, n.at))
		case n != nil:
			r.end(w.target, Newer, fmt.Sprintf("%v at %v", n.kind, n.at))
		default:
			r.end(w.target, Replayed, "")
		}
	}
	return r.summary, nil
}

// sender sends rows for a Replayer.
type sender struct {
	*Replayer

	api     API
	wait    *backoff.ExponentialBackOff
	refused map[string]int      // by account: answers in a row that refused our credentials
	closed  map[streamOf]string // what the API said of streams that it does not take
}

// streamOf names a stream of an account.
type streamOf struct{ account, stream string }

func (w *row) stream() streamOf {
	return streamOf{w.event.Contact.Account, w.event.Contact.Stream}
}

// rows returns what has to be sent: first what is owed, then by account and stream.
func (s *sender) rows(targets []*target) []*row {
	debts := map[*target][]*target{} // of a contact's newest letter: its letters that an earlier run has begun
	for _, t := range targets {
		if !t.ended && s.api.Progress.state[t.record.Position] == begun {
			debts[t.newest] = append(debts[t.newest], t)
		}
	}
	var rows []*row
	for _, t := range targets {
		if t.ended {
			continue
		}
		w := &row{target: t, older: debts[t], state: ownState(t), owed: debts[t] != nil}
		if !w.owed && s.api.Progress.state[t.record.Position] == done {
			s.end(t, Already, "as the progress file says")
			continue
		}
		if result, detail := s.judge(t); result != "" && (!w.owed || !s.payable(t)) {
			s.end(t, result, detail)
			continue
		}
		rows = append(rows, w)
	}
	slices.SortStableFunc(rows, func(a, b *row) int {
		if a.owed != b.owed {
			if a.owed {
				return -1
			}
			return 1
		}
		ca, cb := a.event.Contact, b.event.Contact
		if n := strings.Compare(ca.Account, cb.Account); n != 0 {
			return n
		}
		return strings.Compare(ca.Stream, cb.Stream)
	})
	return rows
}

// payable reports whether the newest state of an owed contact is known.
func (s *sender) payable(t *target) bool {
	return t.newer != nil || s.opts.Unverifiable || s.scan.proves(t)
}

func ownState(t *target) state {
	return state{place: t.place, kind: event.Update, at: t.record.Position, contact: t.event.Contact}
}

// inBatches cuts the rows into requests of one stream each.
func (s *sender) inBatches(ctx context.Context, rows []*row) error {
	most, limiter := s.pace(s.api.MaxRows)
	for len(rows) > 0 && s.room() > 0 {
		if why, is := s.closed[rows[0].stream()]; is {
			rows[0].fail(why)
			if err := s.settle(rows[:1]); err != nil {
				return err
			}
			rows = rows[1:]
			continue
		}
		n, size := 0, 0
		for n < min(most, len(rows), s.room()) {
			if size += len(rows[n].event.Contact.Body); rows[n].stream() != rows[0].stream() || n > 0 && size > s.api.MaxBytes {
				break
			}
			n++
		}
		if err := limiter.WaitN(ctx, n); err != nil {
			return context.Cause(ctx)
		}
		if err := s.batch(ctx, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// batch brings some rows of one stream to their end: the API has the newest state
// of each, or has refused it.
func (s *sender) batch(ctx context.Context, rows []*row) error {
	for len(rows) > 0 {
		cut := s.attempt(ctx, rows) // also then rows may have been delivered
		open, err := s.look(ctx, rows)
		if cut != nil || err != nil {
			return errors.Join(cut, err)
		}
		rows = open
	}
	return nil
}

// begin notes that the rows are about to be sent.
func (s *sender) begin(rows []*row) error {
	var fresh []*row
	for _, w := range rows {
		if s.api.Progress.state[w.record.Position] != begun {
			fresh = append(fresh, w)
		}
	}
	return s.api.Progress.note(begun, targetsOf(fresh))
}

// look reads the log up to its end, settles the rows that have ended by it, and
// returns the others. It does so also when ctx has ended: what was sent has to be
// compared with the log.
func (s *sender) look(ctx context.Context, rows []*row) (open []*row, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.scan.catchUp(ctx); err != nil {
		return nil, err
	}
	for _, w := range rows {
		s.compare(w)
		if w.result == "" {
			open = append(open, w)
		}
	}
	return open, s.settle(rows)
}

// compare decides about a row by what the scan has met.
func (s *sender) compare(w *row) {
	if w.result != "" {
		return
	}
	n := w.newer
	if n != nil && n.place.NewerThan(w.state.place) {
		switch {
		case !w.owed:
			w.result, w.detail = Newer, fmt.Sprintf("%v at %v", n.kind, n.at)
			return
		case n.kind != event.Update: // the service sends nothing for it, so nothing is newer than what was sent
			w.result, w.detail = w.told(), fmt.Sprintf("%v at %v", n.kind, n.at)
			return
		}
		w.state, w.delivered, w.attempts = *n, false, 0
		w.state.contact.Account = w.event.Contact.Account
	}
	if w.delivered {
		w.result = w.told()
		if !w.original {
			w.detail = fmt.Sprintf("the newest state was sent in its place, %v", w.state.at)
		}
	}
}

// told is what to say of a row whose contact is in its newest state.
func (w *row) told() Result {
	if w.original {
		return Replayed
	}
	return Newer
}

// settle writes down the rows that have ended.
func (s *sender) settle(rows []*row) error {
	var ok, refused []*row
	for _, w := range rows {
		switch {
		case w.result == "" || w.ended:
		case w.owed && w.result == Failed: // stays begun: the next run sends the newest state
		case w.owed:
			ok = append(ok, w)
		case s.api.Progress.state[w.record.Position] == begun:
			refused = append(refused, w) // each time: the API has nothing of it
		}
	}
	paid := targetsOf(ok)
	for _, w := range ok {
		for _, t := range w.older {
			if t != w.target {
				paid = append(paid, t)
			}
		}
	}
	if err := s.api.Progress.note(done, paid); err != nil {
		return err
	}
	if err := s.api.Progress.note(given, targetsOf(refused)); err != nil {
		return err
	}
	for _, w := range rows {
		if w.result != "" && !w.ended {
			s.end(w.target, w.result, w.detail)
		}
	}
	return nil
}

func targetsOf(rows []*row) []*target {
	targets := make([]*target, len(rows))
	for i, w := range rows {
		targets[i] = w.target
	}
	return targets
}
