package batcher

import (
	"context"
	"log/slog"
	"time"
)

// noteKind is something that happened in the window and that an operator wants to
// know.
type noteKind uint8

const (
	noteHold noteKind = iota
	noteHoldEnded
	noteAccountHeld
	noteAccountHoldEnded
	noteCeiling
	noteMoved
)

var noteTexts = [...]struct {
	level slog.Level
	text  string
}{
	noteHold:             {slog.LevelError, "stream is on hold: its contacts are kept and it is probed; see docs/holds.md for what to do"},
	noteHoldEnded:        {slog.LevelInfo, "stream is no longer on hold"},
	noteAccountHeld:      {slog.LevelError, "account is on hold: several of its streams were refused and no answer about rows came in between; one request at a time probes it"},
	noteAccountHoldEnded: {slog.LevelInfo, "account is no longer on hold"},
	noteCeiling:          {slog.LevelWarn, "a request was too large for the API: smaller ones are sent from now on"},
	noteMoved:            {slog.LevelWarn, "a contact has events in two partitions, which have no order between them: key the topic by contact or by stream"},
}

// notesKept bounds what waits to be told. What is more is in the metrics.
const notesKept = 100

// Note is one line for the log.
type Note struct {
	kind noteKind
	args []any
}

func (w *Window) note(kind noteKind, args ...any) {
	if len(w.notes) < notesKept {
		w.notes = append(w.notes, Note{kind, args})
	}
}

// TakeNotes returns what is to be told since the last call.
func (w *Window) TakeNotes() []Note {
	notes := w.notes
	w.notes = nil
	return notes
}

// teller writes notes to the log: those that could come with every event once a
// minute. How many there were is in the metrics.
type teller struct {
	log      *slog.Logger
	told     time.Time // of a contact in two partitions
	reminded time.Time // of streams on hold
}

// remind tells once a minute that streams are on hold, in one line for all.
func (t *teller) remind(now time.Time, h holds) {
	switch {
	case h.streams() == 0:
		t.reminded = now // the first reminder comes a minute after the hold is told
	case now.Sub(t.reminded) >= remindEvery:
		t.reminded = now
		t.log.Error("streams are on hold; GET /status names them", "unauthorized", h[holdUnauthorized].streams,
			"stream_gone", h[holdGone].streams, "rejecting", h[holdRejecting].streams, "contacts", h.contacts(), "longest", h.longest().String())
	}
}

func (t *teller) tell(now time.Time, notes []Note) {
	for _, n := range notes {
		if n.kind == noteMoved {
			if now.Sub(t.told) < remindEvery {
				continue
			}
			t.told = now
		}
		t.log.Log(context.Background(), noteTexts[n.kind].level, noteTexts[n.kind].text, n.args...)
	}
}
