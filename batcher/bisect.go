package batcher

import (
	"slices"
	"time"

	"contactsync"
)

// refused handles an answer that refuses a request as a whole because of what
// its rows hold: halves are tried apart, down to the row that is at fault.
func (w *Window) refused(f *Flight, r contactsync.Result) {
	f.lane.account.ceiling.passed(len(f.rows), bodyBytes(f.rows))
	if len(f.rows) == 1 {
		w.refusedRow(f, contactsync.ReasonBadRequest, r)
		return
	}
	rows := w.landAll(f, r)
	w.other(f, false)
	left, right := halve(rows, w.now)
	left.then = right
	w.addGroup(f.lane, left)
}

// tooLarge handles an answer that says that the request is too large: its rows go
// back to the queue, and from now on the account's requests are smaller.
func (w *Window) tooLarge(f *Flight, r contactsync.Result) {
	if len(f.rows) == 1 {
		w.refusedRow(f, contactsync.ReasonTooLarge, r)
		return
	}
	a := f.lane.account
	a.ceiling.refused(w.now, len(f.rows), bodyBytes(f.rows))
	w.note(noteCeiling, "account", a.id, "rows", a.ceiling.rows, "bytes", a.ceiling.bytes,
		"refused_rows", len(f.rows), "refused_bytes", bodyBytes(f.rows))
	for _, c := range slices.Backward(w.landAll(f, r)) {
		w.enqueueFront(c)
	}
	w.other(f, false)
}

// refusedRow handles an answer that refuses a request of one row.
func (w *Window) refusedRow(f *Flight, reason contactsync.Reason, r contactsync.Result) {
	keep := w.judge(f.lane, 0, 1)
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
func (w *Window) other(f *Flight, fine bool) {
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
