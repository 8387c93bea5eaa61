package stub

import (
	"sync"

	"github.com/go-json-experiment/json"
)

// contact is what the stub knows of one contact. Its stream's mutex guards it.
type contact struct {
	id       string
	last     int64 // the seq applied last; -1 before the first
	applied  int64
	inFlight int
	fields   map[string]any
}

// lane is one stream.
type lane struct {
	mu sync.Mutex

	contacts map[string]*contact
}

// tally is what applying the rows of one call came to.
type tally struct {
	order      int64 // see Call.Order
	rows       int64
	fresh      int64 // contacts applied for the first time
	backwards  int64
	duplicates int64
}

// enter marks the rows of a call as in flight and returns how many of their
// contacts were in flight already.
func (l *lane) enter(rows []row) (overlaps, again int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range rows {
		r := &rows[i]
		if len(r.id) == 0 {
			continue
		}
		c := l.contacts[string(r.id)]
		if c == nil {
			c = &contact{id: string(r.id), last: -1}
			l.contacts[c.id] = c
		}
		r.contact = c
		c.inFlight++
		if c.inFlight > 1 {
			overlaps++
		}
	}
	if overlaps > 0 { // an array that names a contact twice overlaps with itself only
		seen := make(map[*contact]bool, len(rows))
		for i := range rows {
			if c := rows[i].contact; c != nil && seen[c] {
				rows[i].again = true
				again++
			} else {
				seen[c] = true
			}
		}
	}
	return overlaps - again, again
}

func (l *lane) leave(rows []row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range rows {
		if c := rows[i].contact; c != nil {
			c.inFlight--
		}
	}
}

// apply takes over every row that is not to be skipped. next numbers the call;
// it is asked while the stream is locked, so that numbers follow the order in
// which a contact's states are applied.
func (l *lane) apply(rows []row, next func() int64, track bool) tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := tally{order: next()}
	for i := range rows {
		r := &rows[i]
		c := r.contact
		if c == nil || r.skip {
			continue
		}
		t.rows++
		if c.applied == 0 {
			t.fresh++
		}
		c.applied++
		r.applied = true
		if r.seq >= 0 {
			switch {
			case r.seq < c.last:
				t.backwards++
			case r.seq == c.last:
				t.duplicates++
			}
			c.last = r.seq
		}
		if track {
			c.merge(r.raw)
		}
	}
	return t
}

// merge lays a row over the fields as a JSON merge patch (RFC 7396).
func (c *contact) merge(raw []byte) {
	var patch map[string]any
	if json.Unmarshal(raw, &patch) == nil {
		c.fields = mergePatch(c.fields, patch)
	}
}

func mergePatch(into, patch map[string]any) map[string]any {
	if into == nil {
		into = make(map[string]any, len(patch))
	}
	for name, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(into, name)
		case map[string]any:
			old, _ := into[name].(map[string]any)
			into[name] = mergePatch(old, v)
		default:
			into[name] = v
		}
	}
	return into
}
