package batcher

import (
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// resume ends an event that had ended under an earlier owner of its partition, and
// reports whether it did. Where older events of its contact are still open, it is handled
// like any other: an update is merged and sent once more, because it is a patch and does
// not replace them, and a delete ends them. So are tombstones, which can mean contacts of
// any stream. So is what follows an older state of its contact that was sent since.
func (w *Window) resume(ev *event.Event, src source) bool {
	switch {
	case ev.Before == contactsync.Open, ev.Kind == event.Tombstone:
		return false
	case ev.Before == contactsync.SetAside, ev.Kind == event.Broken:
		// It does not count as seen: what was set aside must not stop an older state.
	case w.pending.find(keyOf(ev)) != nil, w.seen.sentOlder(ev, src.claim.first):
		return false
	default:
		if key := keyOf(ev); w.seen.newer(key, versionOf(ev)) {
			w.seen.note(key, versionOf(ev))
			if st := w.schedule.streams[key.stream]; ev.Kind == event.Update && st != nil && len(st.contacts) > 0 {
				src.claim.goPast(key.stream, src.offset)
			}
		}
	}
	w.outbox.endAs(src, metrics.Before, ev.Before == contactsync.SetAside)
	return true
}

// goPast notes that an earlier owner went past the events of a stream that are pending, and ended a newer one.
func (cl *claim) goPast(key streamKey, offset int64) {
	if cl.passed == nil {
		cl.passed = map[streamKey]int64{}
	}
	cl.passed[key] = offset
}

// besideAccepted reports whether others of its stream were accepted where the contact was refused: in its request, or after it by
// an earlier owner, who left it open. What is left of a stream after a restart is bad rows mostly, and would look like a stream
// of which all are refused.
func (c *contact) besideAccepted() bool {
	if c.beside || c.sources.n == 0 {
		return c.beside
	}
	oldest := c.sources.first
	return oldest.claim.passed[c.stream.key()] > oldest.offset
}

// mayApply notes that the API may apply a request until then, although nobody waits for
// its answer.
func (w *Window) mayApply(until time.Time) { w.atWork = later(w.atWork, until) }

// AtWorkUntil is until when the API may still apply requests that ended without a usable
// answer; zero or past where there are none. An older state must not be applied after a
// newer one that another owner sends.
func (w *Window) AtWorkUntil() time.Time { return w.atWork }
