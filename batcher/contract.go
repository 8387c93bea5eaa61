package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// An answer can contradict itself: counters against lists, signs of failure within a success. It settles
// nothing then, and the row in it that is the cause, if one is, is sought like that of a request that was refused as
// a whole. A row that gets such an answer alone is never set aside for it. Where three in a row do, and nothing of the
// account is answered for in between, it is the API that breaks its contract.

// contradicts reports whether an answer contradicts itself and settles no row.
func contradicts(r contactsync.Result) bool {
	settled := func(o contactsync.Outcome) bool { return !unsettled(o) }
	return slices.ContainsFunc(r.Rows, contradicted) && !slices.ContainsFunc(r.Rows, settled)
}

func contradicted(o contactsync.Outcome) bool { return o.Verdict == contactsync.Contradicted }

// misfits reports whether an answer does not fit its request: contacts are missing, named twice, or were not asked for, or
// it contradicts itself.
func misfits(r contactsync.Result) bool { return r.Kind == contactsync.Answered && r.Detail != "" }

// unsettled reports whether an answer leaves it open what became of a row.
func unsettled(o contactsync.Outcome) bool {
	return o.Verdict == contactsync.Unresolved || o.Verdict == contactsync.Contradicted
}

// noteContradictions notes the contacts about which an answer contradicts itself, and the one for which it does so where that was sent
// alone. It reports whether the answer contradicts itself and settles no row; the first reason in it is that of the request then.
func (r *Request) noteContradictions(now time.Time, result *contactsync.Result) bool {
	for i, c := range r.rows {
		if i < len(result.Rows) && contradicted(result.Rows[i]) && c.contradicted.IsZero() {
			c.contradicted = now
		}
	}
	if !contradicts(*result) {
		return false
	}
	first := firstReason(result.Rows)
	result.Detail, result.Text = first.detail, first.text
	a, c := r.stream.account, r.rows[0]
	others := !a.strangers.answered.Before(c.contradicted) // were answered for since: it is the contact's fault
	if key := c.key(); len(r.rows) == 1 && !others {
		a.contradicted.note(key)
	}
	return true
}

// breaksContract reports whether answers contradict themselves whatever the row.
func (a *account) breaksContract() bool { return a.contradicted.enough() }
