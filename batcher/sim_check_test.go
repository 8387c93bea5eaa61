package batcher_test

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/event"
)

// sync holds what the Window has to say against the model: events that ended, dead
// letters, holds.
func (s *simRun) sync() {
	m := s.model
	s.isParked(nil)
	for _, e := range s.window.TakeEnded() {
		if !m.ended[e] {
			s.fail("I2", "%v of generation %d has ended, and must not", e.Position(), e.Generation)
		}
		delete(m.ended, e)
		s.ended[e.Partition][int(e.Offset)] = true
	}
	for e := range m.ended {
		s.fail("I1", "%v has not ended", e.Position())
	}
	s.syncLetters()
	s.reconcile()
}

// syncLetters holds the dead letters that may leave against those of the model.
func (s *simRun) syncLetters() {
	known := map[*batcher.DeadLetter]bool{}
	for _, l := range s.model.letters {
		known[l.found] = true
	}
	waiting := s.window.DeadLettersWaiting()
	for _, d := range waiting {
		if known[d] {
			continue
		}
		i := slices.IndexFunc(s.model.letters, func(l *simLetter) bool {
			return l.found == nil && !l.dead && l.event.record.Position == d.Record.Position
		})
		if i < 0 {
			s.fail("I6", "a dead letter %v of %v, and nothing says why", d.Reason, d.Record.Position)
		}
		l := s.model.letters[i]
		if l.deferred {
			s.fail("catch-up", "a dead letter leaves before %v has caught up", l.reads[0].claim)
		}
		l.found = d
		s.checkLetter(l)
	}
	left := 0
	for _, l := range s.model.letters {
		if l.found == nil && !l.deferred {
			s.fail("I1", "no dead letter of %v: %v", l.event, l.reason)
		}
		if !l.taken && !l.deferred {
			left++
		}
	}
	if left != len(waiting) {
		s.fail("I1", "%d dead letters may leave, want %d", len(waiting), left)
	}
	if n := s.window.DeadLettersPending(); n != len(s.model.letters) {
		s.fail("I1", "%d dead letters are not acknowledged, want %d", n, len(s.model.letters))
	}
}

// checkLetter checks what a dead letter says.
func (s *simRun) checkLetter(l *simLetter) {
	d := l.found
	var want []contactsync.Position
	for _, r := range l.reads {
		want = append(want, r.event.record.Position)
	}
	if !slices.Equal(d.Positions, want) {
		s.fail("I1", "the dead letter of %v ends %v, want %v", l.event, d.Positions, want)
	}
	if d.Reason != l.reason || d.Status != l.status || d.Attempts != l.attempts || !d.First.Equal(l.first) || !d.Last.Equal(l.last) {
		s.fail("I5", "the dead letter of %v says %v, status %d, %d attempts from %v to %v; want %v, %d, %d, %v, %v",
			l.event, d.Reason, d.Status, d.Attempts, d.First, d.Last, l.reason, l.status, l.attempts, l.first, l.last)
	}
	if l.reason != contactsync.ReasonUndecodable && (d.Stream != l.event.key.stream || d.Contact != l.event.key.id) {
		s.fail("I12", "the dead letter of %v is of %s/%s", l.event, d.Stream, d.Contact)
	}
	if l.body == nil {
		return
	}
	var v struct {
		StreamID string
		Contact  map[string]any
		Version  int64
	}
	if err := json.Unmarshal(d.Record.Value, &v); err != nil || v.StreamID != l.event.key.stream ||
		v.Version != l.event.order.version || !reflect.DeepEqual(v.Contact, l.body) {
		s.fail("I1", "the dead letter of %v holds %s, want %v, version %d", l.event, d.Record.Value, l.body, l.event.order.version)
	}
}

// held is the kind of a stream's hold, as the Window says it.
func (s *simRun) held(stream string) string {
	for _, h := range s.window.Status(s.now).Holds {
		if h.Stream == stream {
			return h.Kind
		}
	}
	return ""
}

// reconcile holds the holds of streams and accounts against the model. A rejecting hold
// that may end does so when the Window next looks at it, as does one without contacts.
func (s *simRun) reconcile() {
	status := s.window.Status(s.now)
	holds := map[string]batcher.HoldStatus{}
	for _, h := range status.Holds {
		holds[h.Stream] = h
	}
	for _, st := range s.model.streams {
		h, held := holds[st.name]
		switch want := st.hold; {
		case want == nil && held:
			s.fail("hold", "%s is on hold: %s", st.name, h.Kind)
		case want == nil:
		case !held && (want.passed(s.cfg) || len(s.model.of(st)) == 0):
			st.hold = nil
			st.calm()
		case !held:
			s.fail("hold", "%s is not on hold, want %s since %v", st.name, want.kind, want.since)
		case h.Kind != want.kind || !h.Since.Equal(want.since) || h.Account != st.account.name || h.Contacts != len(s.model.of(st)):
			s.fail("hold", "%s is on hold %+v, want %s since %v, %d contacts", st.name, h, want.kind, want.since, len(s.model.of(st)))
		default:
			want.status = h.Status
		}
	}
	for _, a := range status.Accounts {
		want := s.model.accounts[slices.IndexFunc(s.model.accounts, func(o *simAccount) bool { return o.name == a.Account })]
		want.used = true
		if held := !a.HeldSince.IsZero(); want.held && !held && s.model.empty(want) {
			s.model.endHold(want)
		} else if held != want.held {
			s.fail("hold", "account %s is on hold: %v, want %v: %v were refused", a.Account, held, want.held, want.struck)
		}
		if (a.RequestMaxRows > want.rows || int(a.RequestMaxBytes) > want.bytes) && s.now.Sub(want.lowered) < simSizeForgotten && !want.mayRise && !s.plan.doubt {
			s.fail("size", "the request size of %s rises %v after it was lowered, and no larger request has passed", a.Account, s.now.Sub(want.lowered))
		}
		want.mayRise = false
		want.rows, want.bytes = a.RequestMaxRows, int(a.RequestMaxBytes)
		want.leastRows, want.leastBytes = min(want.leastRows, want.rows), min(want.leastBytes, want.bytes)
		s.model.loosen(want)
	}
	s.model.idle()
}

// settled reports whether all events have ended.
func (s *simRun) settled() bool {
	for p, log := range s.logs {
		if s.committed[p] < len(log) {
			return false
		}
	}
	return true
}

// checkState checks that the API holds what the log says of each contact of which
// nothing was set aside, deleted or declared older.
func (s *simRun) checkState() {
	dirty := map[simKey]bool{}
	for _, l := range s.written {
		dirty[simKey{l.Stream, l.Contact}] = true
	}
	want := map[simKey]map[string]any{}
	for p, log := range s.logs {
		for o, e := range log {
			switch {
			case e.kind == event.Tombstone && e.key.stream == "": // retention may take it after it had deleted
				for _, stream := range s.streams {
					dirty[simKey{stream, e.key.id}] = true
				}
			case s.gone[p][o], e.kind == event.Delete, e.kind == event.Tombstone, e.late, s.wanders(e.key):
				dirty[e.key] = true
			case e.kind == event.Update:
				want[e.key] = merged(want[e.key], e.body)
			}
		}
	}
	for k, body := range want {
		for name, v := range body {
			if _, object := v.(map[string]any); object || dirty[k] {
				continue
			}
			if got, ok := s.state[k].members[name]; ok != (v != nil) || ok && !reflect.DeepEqual(got, v) {
				s.fail("I1", "the API holds %v of %v, want %s %v", s.state[k].members, k, name, v)
			}
		}
	}
}
