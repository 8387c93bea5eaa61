package batcher

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
)

// decisions are what an operator decides about streams on hold.
type decisions struct{ *Window }

// release ends the hold of a stream, as an operator's decision: its next request is
// made at once, also where its account is on hold. account may be empty where the stream
// lies in one only.
func (w decisions) release(now time.Time, account, name string) error {
	w.clock(now)
	st, err := w.held(account, name)
	if err != nil {
		return err
	}
	st.released = true
	w.health.endHold(w.now, st, endedByOperator)
	w.m.HoldDecisions.WithLabelValues("release").Inc()
	return nil
}

// setAside has the contacts that wait in a stream on hold become dead letters, a
// thousand at once and as many with each Expire, as an operator's decision. What comes later
// waits as before, and the stream is probed when they are gone.
func (w decisions) setAside(now time.Time, account, name, reason string) error {
	w.clock(now)
	if len(reason) > mostReason || strings.ContainsFunc(reason, unicode.IsControl) {
		return fmt.Errorf("the reason must be one line of at most %d bytes", mostReason)
	}
	st, err := w.held(account, name)
	if err != nil {
		return err
	}
	on := st.health.hold
	on.asideBelow, on.asideBecause = w.pending.arrived, "set aside by an operator"
	if reason != "" {
		on.asideBecause += ": " + reason
	}
	w.schedule.deciding = append(w.schedule.deciding, st)
	w.m.HoldDecisions.WithLabelValues("set_aside").Inc()
	w.log.add(slog.LevelWarn, "an operator has the contacts of a stream on hold set aside as dead letters; when the stream is back: contactsync dlq replay --stream STREAM --reason REASON",
		"kind", on.kind.String(), "account", st.account.id, "stream", st.name, "contacts", len(st.contacts), "events", st.events(), "because", reason, "dead_letter_reason", string(on.kind.reason()))
	Parking(w).setAside(st)
	w.goOn(st, expireAtOnce)
	return nil
}

// mostReason bounds what an operator says, which is kept with each dead letter.
const mostReason = 200

// setsAside reports whether contacts of a stream become dead letters, as an operator has decided.
func (st *stream) setsAside() bool { return st.health.hold != nil && st.health.hold.asideBelow > 0 }

// goOn sets more contacts of a stream aside, as an operator has decided, for at most so many contacts, and
// returns for how many it did.
func (w decisions) goOn(st *stream, most int) (n int) {
	on := st.health.hold
	w.pending.dissolve(w.now, st, true)
	decided := func(c *contact) bool { return c.rank.seq < on.asideBelow || c.aside }
	why := on.expiry()
	why.last.detail = on.asideBecause + "; the last answer: " + on.last.detail
	n = w.pending.expire(w.now, st, most, func(c *contact) (expiry, bool) { return why, decided(c) })
	on.deadLetters += n
	for _, c := range st.contacts {
		if decided(c) {
			return n // in flight, in a set that is not due, or too many for one go
		}
	}
	if Parking(w).asides(on) {
		return n // they are still to be read again
	}
	on.asideBelow = 0
	w.health.resetBackoff(st)
	return n
}

// undone are the streams for which that goes on, by name.
func (w decisions) undone() []*stream {
	s := &w.schedule
	s.deciding = slices.DeleteFunc(s.deciding, func(st *stream) bool { return !st.setsAside() })
	slices.SortFunc(s.deciding, compareNames)
	s.deciding = slices.Compact(s.deciding)
	return s.deciding
}

// end ends the decisions that were not carried out yet, because the partitions are released: what
// is left is read again, by whoever has them then, and nobody has decided about that.
func (w decisions) end() {
	for _, st := range w.undone() {
		on := st.health.hold
		w.log.add(slog.LevelWarn, "partitions were released before all that an operator has set aside was: the rest is read again and waits; once the stream is on hold again, decide again: contactsync hold set-aside",
			"kind", on.kind.String(), "account", st.account.id, "stream", st.name, "contacts", len(st.contacts), "parked", Parking(w).events(st))
		on.asideBelow = 0
	}
}

// held finds a stream that is on hold.
func (w decisions) held(account, name string) (*stream, error) {
	all := w.schedule.holding(func(st *stream) bool { return st.health.hold != nil })
	found := slices.DeleteFunc(slices.Clone(all), func(st *stream) bool { return st.name != name || account != "" && st.account.id != account })
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("stream %q is on hold in several accounts: name one of %s", name, listed(found, func(st *stream) string { return st.account.id }))
	}
	for _, a := range w.schedule.accounts {
		switch st := w.schedule.streams[streamKey{a.id, name}]; {
		case st == nil, account != "" && a.id != account:
		case st.signer.held:
			return nil, fmt.Errorf("stream %q is on hold only with what signs for it: that ends when its credentials are accepted, and streams that are on hold by themselves may be released to try them", name)
		case st.stalls():
			return nil, fmt.Errorf("stream %q is not on hold: its requests fail, and are retried until they pass; failing in /status says since when, and contactsync explain what was answered", name)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no stream is on hold in this replica: ask the one whose /status lists it")
	}
	return nil, fmt.Errorf("stream %q is not on hold in this replica: on hold are %s", name, listed(all, func(st *stream) string { return st.name }))
}

// listed names the first few streams.
func listed(streams []*stream, name func(*stream) string) string {
	const most = 10
	var names []string
	for _, st := range streams[:min(most, len(streams))] {
		names = append(names, fmt.Sprintf("%q", name(st)))
	}
	text := strings.Join(names, ", ")
	if more := len(streams) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
