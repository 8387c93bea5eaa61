package batcher

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
)

// noteKind is something that happened in the window and that an operator wants to
// know.
type noteKind uint8

const (
	noteHold noteKind = iota
	noteHoldEnded
	noteExpired
	noteAccountHeld
	noteAccountHoldEnded
	noteCeiling
	noteMoved
	noteStale
	noteRefused
	noteKinds
)

// What could come with every event or request is told often: once a minute, by
// the first of its kind. How many there were is in the metrics.
var noteTexts = [noteKinds]struct {
	level slog.Level
	text  string
	often bool
}{
	noteHold:             {slog.LevelError, "stream is on hold: its contacts are kept and it is probed; see docs/holds.md for what to do", false},
	noteHoldEnded:        {slog.LevelInfo, "stream is no longer on hold", false},
	noteExpired:          {slog.LevelError, "a hold has lasted for hold_max: contacts of the stream go to the dead-letter topic; when the stream is back: contactsync dlq replay --stream STREAM --reason KIND", false},
	noteAccountHeld:      {slog.LevelError, "account is on hold: several of its streams were refused and no answer about rows came in between; one request at a time probes it", false},
	noteAccountHoldEnded: {slog.LevelInfo, "account is no longer on hold", false},
	noteCeiling:          {slog.LevelWarn, "a request was too large for the API: smaller ones are sent from now on", false},
	noteMoved:            {slog.LevelWarn, "a contact has events in two partitions, which have no order between them: key the topic by contact or by stream", true},
	noteStale:            {slog.LevelWarn, "an event is older than what is known of its contact and was dropped; contactsync_batcher_events_skipped_total counts them", true},
	noteRefused:          {slog.LevelWarn, "the API refuses whole requests for some of their rows, which takes several calls for each bad row; contactsync_upstream_requests_total counts them", true},
}

// notesKept bounds what waits to be told. What is more is in the metrics.
const notesKept = 100

// LogEvent is one line for the log.
type LogEvent struct {
	kind noteKind
	args []any
}

// noting reports whether a note that may come often is wanted: one is enough, and
// must not leave the others without a place.
func (w *Window) noting(kind noteKind) bool {
	return !slices.ContainsFunc(w.notes, func(n LogEvent) bool { return n.kind == kind })
}

func (w *Window) note(kind noteKind, args ...any) {
	if len(w.notes) < notesKept {
		w.notes = append(w.notes, LogEvent{kind, args})
	}
}

// TakeLogEvents returns what is to be told since the last call.
func (w *Window) TakeLogEvents() []LogEvent {
	notes := w.notes
	w.notes = nil
	return notes
}

// teller writes to the log what happens in the window.
type teller struct {
	log      *slog.Logger
	told     [noteKinds]time.Time
	reminded time.Time // of streams on hold

	written  map[contactsync.Reason]int // dead letters since they were last told of
	newest   contactsync.DeadLetter
	reported time.Time
}

func (t *teller) tell(now time.Time, notes []LogEvent) {
	for _, n := range notes {
		kind := noteTexts[n.kind]
		if kind.often && now.Sub(t.told[n.kind]) < remindEvery {
			continue
		}
		t.told[n.kind] = now
		t.log.Log(context.Background(), kind.level, kind.text, n.args...)
	}
}

// remind tells once a minute that streams are on hold, in one line for all.
func (t *teller) remind(now time.Time, h holds) {
	switch {
	case h.streams() == 0:
		t.reminded = now // the first reminder comes a minute after the hold is told
	case now.Sub(t.reminded) >= remindEvery:
		t.reminded = now
		t.log.Error("streams are on hold; GET /status names them", "unauthorized", h.of[holdUnauthorized].streams,
			"stream_gone", h.of[holdGone].streams, "rejecting", h.of[holdRejecting].streams, "contacts", h.contacts(),
			"longest", h.longest(), "accounts", strings.Join(h.accounts, " "))
	}
}

// count notes dead letters that Kafka has.
func (t *teller) count(letters []*DeadLetter) {
	for _, l := range letters {
		t.written[l.Reason]++
		t.newest = l.DeadLetter
	}
}

// flush tells what is left to tell.
func (t *teller) flush(now time.Time) {
	t.reported = time.Time{}
	t.report(now)
}

// report tells of the dead letters since the last time, at most once a minute. What
// a letter says in detail may be about a person, and is not written to the log.
func (t *teller) report(now time.Time) {
	if len(t.written) == 0 || now.Sub(t.reported) < remindEvery {
		return
	}
	t.reported = now
	all, reasons := 0, []string{}
	for _, r := range slices.Sorted(maps.Keys(t.written)) {
		all += t.written[r]
		reasons = append(reasons, fmt.Sprintf("%s=%d", r, t.written[r]))
	}
	t.log.Warn("events were set aside as dead letters; contactsync dlq stats and list show them", "letters", all,
		"reasons", strings.Join(reasons, " "), "newest", t.newest.Record.String(), "stream", t.newest.Stream)
	clear(t.written)
}
