package batcher

import (
	"time"

	"github.com/contactsync/contactsync"
)

// refused handles an answer that refuses a request as a whole because of what
// its rows hold: halves are tried apart, down to the row that is at fault.
func (w *Window) refused(f *Request, r contactsync.Result) {
	w.sized(f, true)
	if len(f.rows) == 1 {
		w.refusedRow(f, contactsync.ReasonBadRequest, r)
		return
	}
	if w.noting(noteRefused) {
		w.note(noteRefused, "account", f.lane.account.id, "stream", f.lane.stream, "rows", len(f.rows), "status", r.Status, "detail", r.Detail)
	}
	rows := w.landAll(f, r)
	w.other(f, false)
	left, right := halve(rows, w.now)
	left.then = right
	w.addGroup(f.lane, left)
}

// split is a request that was too large and whose halves are sent. Where both
// pass, the request was larger than the API takes; where one row is at fault it
// says nothing of the others.
type split struct {
	rows   int
	bytes  int64
	open   int  // halves that have not been answered
	failed bool // one of them was too large as well
}

// tooLarge handles an answer that says that the request is too large: its halves
// are sent.
func (w *Window) tooLarge(f *Request, r contactsync.Result) {
	w.sized(f, false)
	if len(f.rows) == 1 {
		w.refusedRow(f, contactsync.ReasonTooLarge, r)
		return
	}
	s := &split{rows: len(f.rows), bytes: bodyBytes(f.rows), open: 2}
	rows := w.landAll(f, r)
	w.other(f, false)
	left, right := halve(rows, w.now)
	left.split, right.split = s, s
	w.addGroup(f.lane, left)
	w.addGroup(f.lane, right)
}

// sized notes whether a request had a size that the API takes. When both halves
// of one that was too large have passed, the account's ceiling comes down.
func (w *Window) sized(f *Request, passed bool) {
	a := f.lane.account
	if passed {
		a.ceiling.passed(len(f.rows), bodyBytes(f.rows))
	}
	if f.group == nil || f.group.split == nil {
		return
	}
	s := f.group.split
	s.open--
	if s.failed = s.failed || !passed; s.failed || s.open > 0 {
		return
	}
	a.ceiling.refused(w.now, s.rows, s.bytes)
	w.note(noteCeiling, "account", a.id, "rows", a.ceiling.rows, "bytes", a.ceiling.bytes,
		"refused_rows", s.rows, "refused_bytes", s.bytes)
}

// refusedRow handles an answer that refuses a request of one row.
func (w *Window) refusedRow(f *Request, reason contactsync.Reason, r contactsync.Result) {
	refused := 0
	if f.rows[0].awaited() {
		refused = 1
	}
	keep := w.judge(f.lane, 0, refused)
	w.fail(f.rows[0], reason, r.Detail, r.Status, keep)
	w.other(f, false)
	if keep {
		w.hold(f.lane, holdRejecting, r)
	} else {
		f.lane.calm()
	}
}

// other frees the half that waited for the answer to this one. Where this half
// was fine, the other one is at fault, so it is halved without being asked.
func (w *Window) other(f *Request, fine bool) {
	if f.group == nil || f.group.then == nil {
		return
	}
	g := f.group.then
	g.compact()
	if !fine || len(g.rows) < 2 {
		w.addGroup(f.lane, g)
		return
	}
	left, right := halve(g.rows, w.now)
	left.then = right
	w.addGroup(f.lane, left)
}

func halve(rows []*contact, due time.Time) (left, right *group) {
	half := len(rows) / 2
	return newGroup(rows[:half:half], due), newGroup(rows[half:], due)
}

func bodyBytes(rows []*contact) int64 {
	n := int64(0)
	for _, c := range rows {
		n += rowBytes(c)
	}
	return n
}
