package group

import (
	"bytes"
	"strconv"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
)

// worldAPI takes requests, late or twice or never if it must be.
type worldAPI struct {
	w        *world
	down     bool // answers with an error of the server
	silent   bool // half of the requests are not answered in time
	slow     bool // takes seconds, but answers in time
	rejects  bool // some rows are refused for no reason that lasts, a few of them for good
	requests int
	late     int // rows that overtook a newer state, as docs/design.md allows
}

// worldRequest is one request in flight.
type worldRequest struct {
	started  time.Time
	g        *worldGeneration
	req      *batcher.Request
	rows     []worldRow
	answered bool // for the replica: answered, timed out, or given up
	givenUp  bool
}

type worldRow struct {
	contact *worldContact
	n       int
	bad     bool
}

// orphaned reports whether nobody waits any more for what the API makes of it: its
// sender is dead, has given it up, or has no right to its partitions now. What is
// applied then may overtake what the next owner sends.
func (q *worldRequest) orphaned() bool {
	r := q.g.r
	return q.givenUp || r.member.dead || q.g.over || !r.w.now.Before(r.member.m.LeaseUntil())
}

// rowsOf reads the rows of a request.
func (w *world) rowsOf(b contactsync.Batch) []worldRow {
	rows := make([]worldRow, len(b.Rows))
	for i, row := range b.Rows {
		rows[i] = w.rowOf(row.ID, row.Body)
	}
	return rows
}

// rowOf reads one row, or the event of a dead letter.
func (w *world) rowOf(id string, body []byte) worldRow {
	at, _ := strconv.Atoi(id[1:])
	number := func(name string) int {
		_, rest, _ := bytes.Cut(body, []byte(name))
		end := bytes.IndexAny(rest, ",}")
		n, err := strconv.Atoi(string(rest[:end]))
		if err != nil {
			w.fail("I1", "row %q: %v", body, err)
		}
		return n
	}
	return worldRow{w.contacts[at], number(`"n":`), number(`"bad":`) == 1}
}

// send takes a request in and answers it, in its own time.
func (a *worldAPI) send(q *worldRequest) {
	w := a.w
	a.requests++
	answer := w.between(10*time.Millisecond, 300*time.Millisecond)
	if a.slow {
		answer = w.between(time.Second, worldTimeout*5/8)
	}
	switch {
	case a.down:
		w.after(answer, func() { q.g.r.answer(q, contactsync.Result{Kind: contactsync.Unavailable, Status: 503}) })
	case a.silent && w.chance(2):
		how := w.rand.IntN(4)
		if how == 0 || how == 1 {
			w.after(w.between(0, worldTimeout-time.Millisecond), func() { a.apply(q) })
		}
		if how == 1 || how == 2 {
			w.after(w.between(worldTimeout, worldTimeout+worldAmbiguous-10*time.Millisecond), func() { a.apply(q) })
		}
		w.after(worldTimeout, func() { q.g.r.answer(q, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true}) })
	default:
		w.after(w.between(0, answer), func() {
			rows := a.apply(q)
			w.after(answer/2, func() { q.g.r.answer(q, contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: rows}) })
		})
	}
}

// apply makes the API hold the rows, and returns what it says of each.
func (a *worldAPI) apply(q *worldRequest) []contactsync.Outcome {
	w := a.w
	out := make([]contactsync.Outcome, len(q.rows))
	for i, row := range q.rows {
		c := row.contact
		if row.bad {
			out[i] = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "bad"}
			continue
		}
		if a.rejects && w.chance(4) {
			out[i] = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "later", Transient: !w.chance(4)}
			c.refused[row.n] = c.refused[row.n] || !out[i].Transient
			continue
		}
		out[i] = contactsync.Outcome{Verdict: contactsync.Delivered}
		if row.n < c.state {
			if !q.orphaned() && !c.record(c.state).gone { // what the log has lost is newer than what is left
				w.fail("I3", "%s gives the API state %d of %v after state %d", q.g.r, row.n, c, c.state)
			}
			a.late++
			w.logf("API: a late request of %s sets %v back from %d to %d", q.g.r, c, c.state, row.n)
		}
		c.overtaken = row.n < c.state || c.overtaken && row.n < c.newest
		c.state, c.newest = row.n, max(c.newest, row.n)
	}
	if w.traced {
		w.logf("API: %s %s", q.g.r, q.describe())
	}
	return out
}

func (q *worldRequest) describe() string {
	var b bytes.Buffer
	for _, row := range q.rows {
		b.WriteString(row.contact.String() + "=" + strconv.Itoa(row.n) + " ")
	}
	return b.String()
}

// worldBudget is how often the replicas together may call the API, each for its share
// of the partitions. The first call after a start is free.
type worldBudget struct {
	every time.Duration // 0 for no limit
}

// worldGate is one replica's part of the budget. It implements batcher.Gate.
type worldGate struct {
	r    *replica
	next time.Time
}

// PerSecond implements batcher.Gate.
func (g *worldGate) PerSecond() float64 { return 0 }

// Admit implements batcher.Gate.
func (g *worldGate) Admit(now time.Time, _ string, _ bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	w := g.r.w
	switch {
	case now.Before(g.next):
		return nil, g.next
	case w.gate.every > 0 && g.r.gen == nil:
		return nil, now.Add(time.Second)
	case w.gate.every > 0:
		share := max(1, len(w.logs)/max(1, len(g.r.gen.fetchers)))
		g.next = now.Add(w.gate.every * time.Duration(share))
	}
	return func(time.Time, contactsync.Result) time.Time { return time.Time{} }, time.Time{}
}
