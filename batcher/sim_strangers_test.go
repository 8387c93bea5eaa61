package batcher_test

import "time"

// What the documentation promises of streams that were never accepted.
const (
	simFirstAnswers = 20 // of these
	simFirstRefused = 10 // so many
)

// simStrangers is what must hold for the streams of an account that were never accepted.
type simStrangers struct {
	accepted map[string]bool // streams for whose rows, one by one, the API has answered
	answered time.Time       // when it last did
	first    []bool          // what it said first to streams: whether it refused them
	doubt    int             // answers of which it is not known whether they were the first, fewer with each that is
	failed   int             // requests that failed, the last two of them less than the longest back-off apart
	failedAt time.Time       // the last of them
}

// failing notes a request that failed.
func (a *simStrangers) failing(now time.Time, lately time.Duration) {
	if now.Sub(a.failedAt) >= lately {
		a.failed = 0
	}
	a.failed, a.failedAt = a.failed+1, now
}

// mayDoubt reports whether so many streams may have begun to fail that any other may go behind those that were answered since.
func (a *simStrangers) mayDoubt(now time.Time, lately time.Duration) bool {
	return a.failed >= 3 && now.Sub(a.failedAt) < lately
}

func (a *simStrangers) answeredFirst(refused bool) {
	a.first = append(a.first, refused)
	a.first = a.first[max(0, len(a.first)-simFirstAnswers):]
	a.doubt = max(0, a.doubt-1)
}

// mostlyRefused is whether half of the last first answers were refusals.
func (a *simStrangers) mostlyRefused() simMaybe {
	n, old := 0, len(a.first)-(simFirstAnswers-a.doubt)
	for i, refused := range a.first {
		if refused && i >= old {
			n++
		}
	}
	switch {
	case n >= simFirstRefused:
		return simYes
	case n+a.doubt >= simFirstRefused:
		return simUnsure
	}
	return simNo
}

// accept notes that the API has answered for each row of a request of a stream.
func (st *simStream) accept(now time.Time) {
	a := &st.account.strangers
	a.answered = now
	if !a.accepted[st.name] {
		a.answeredFirst(false)
		a.accepted[st.name], st.strange = true, simNo
	}
}

// refuse notes that it does not know a stream, or refuses its credentials.
func (st *simStream) refuse() {
	a := &st.account.strangers
	switch {
	case a.accepted[st.name], st.strange == simYes:
		return
	case st.strange == simUnsure:
		a.doubt = simFirstAnswers
	default:
		a.answeredFirst(true)
	}
	st.strange = simYes
}

// strikes reports whether a refusal of the stream counts against its account: not that of
// a stranger while the account works.
func (m *simModel) strikes(st *simStream) bool {
	a := st.account.strangers
	return a.accepted[st.name] || a.answered.IsZero() || m.now.Sub(a.answered) >= m.cfg.HoldProbeMax
}

// yields is whether a stream goes behind the others of its account.
func (st *simStream) yields() simMaybe {
	a := st.account.strangers
	switch {
	case st.hold != nil:
		return simYes
	case a.accepted[st.name]:
		return simNo
	case st.strange == simYes:
		return simYes
	}
	if mostly := a.mostlyRefused(); mostly != simNo || st.strange == simNo {
		return mostly
	}
	return simUnsure
}

// mustWait reports whether a stream probes for its account although another one, which is
// ready as well, goes before it.
func (st *simStream) mustWait(other *simStream) bool {
	a := st.account
	promise := func(st *simStream) int {
		switch accepted, onHold := a.strangers.accepted[st.name], st.hold != nil; {
		case accepted && !onHold:
			return 3
		case !accepted && onHold:
			return 0
		case onHold == (a.newcomers < simOthersFirst): // these two take turns
			return 1
		}
		return 2
	}
	return promise(st) < promise(other)
}
