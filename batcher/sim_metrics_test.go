package batcher_test

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/metrics"
)

// skippedStale is how many events were skipped as stale; 0 where nobody asks.
func (s *simRun) skippedStale(asked bool) float64 {
	if !asked {
		return 0
	}
	return testutil.ToFloat64(s.metrics.Batcher.Skipped.WithLabelValues("stale"))
}

// checkMetrics holds the metrics against the model. It follows an Observe.
func (s *simRun) checkMetrics() {
	b, want := s.metrics.Batcher, s.model.count
	check := func(name string, c prometheus.Collector, n float64) {
		if got := testutil.ToFloat64(c); got != n {
			s.fail("metrics", "%s is %v, want %v", name, got, n)
		}
	}
	total, ended := b.Events.Totals(), uint64(0)
	for i, as := range metrics.Outcomes {
		if n := total.Ended[i].Count; float64(n) != want["ended "+as] {
			s.fail("metrics", "%d events ended %s, want %v", n, as, want["ended "+as])
		}
		ended += total.Ended[i].Count
	}
	open := 0
	for _, cl := range s.model.claims {
		open += cl.open
	}
	if float64(total.Released) != want["released"] || total.Waiting != uint64(open) || total.Consumed != ended+total.Released+total.Waiting {
		s.fail("metrics", "events consumed %d, completed %d, released %d and waiting %d; want %v released and %d waiting",
			total.Consumed, ended, total.Released, total.Waiting, want["released"], open)
	}
	unwritten := 0
	for _, l := range s.model.letters {
		if !l.dead { // else of a generation that is over
			unwritten += len(l.reads)
		}
	}
	if total.Unwritten != uint64(unwritten) {
		s.fail("metrics", "%d events wait for a dead letter to be written, want %d", total.Unwritten, unwritten)
	}
	for _, reason := range metrics.SkipReasons {
		check("events skipped "+reason, b.Skipped.WithLabelValues(reason), want["skipped "+reason])
	}
	for _, reason := range metrics.BatchReasons {
		check("batches "+reason, b.Batches.WithLabelValues(reason), want["batches "+reason])
	}
	for _, k := range contactsync.Kinds() {
		check("rows retried "+k.String(), b.RowsRetried.WithLabelValues(k.String()), want["retried "+k.String()])
	}
	check("late results", b.Late, want["late"])
	check("rows retained", b.RejectedRowsRetained, want["retained"])
	s.checkGauges(check)
}

func (s *simRun) checkGauges(check func(string, prometheus.Collector, float64)) {
	b, m := s.metrics.Batcher, s.model
	pending, rows, oldest := 0, 0, s.now
	least, most := 0, 0
	charge := func(size, events int) {
		least += s.overhead + size + 24*events
		most += s.overhead + size + 96*events
	}
	cell := func(c *simCell) {
		if c.dead {
			most += 10_000 // what its events were is forgotten here
			return
		}
		rec := c.newest().record
		size, text := recordSize(rec), []byte(nil)
		if !reflect.DeepEqual(c.body, c.newest().body) {
			text, _ = json.Marshal(c.body)
		} else if len(c.events) > 1 {
			most += len(rec.Value)
		}
		charge(size+len(text), len(c.events))
	}
	cells, waits, streams := m.sorted(), false, map[simKey]bool{}
	for _, c := range cells {
		pending++
		if c.request != nil {
			rows++
		}
		if !c.dead {
			oldest = earlier(oldest, c.oldest.Truncate(time.Millisecond))
		}
		if at := (simKey{stream: c.key.stream}); !c.dead && !streams[at] {
			streams[at] = true
			least += s.streamOverhead
			most += s.streamOverhead
		}
		waits = waits || c.set != nil && c.set.halves // half of a refused request that waits for the other is not looked at
		cell(c)
		if c.behind != nil {
			pending++
			cell(c.behind)
			oldest = earlier(oldest, c.behind.oldest.Truncate(time.Millisecond))
		}
	}
	for _, l := range m.letters {
		if l.found == nil { // it is deferred
			most += 2000
			charge(0, len(l.reads))
		} else {
			charge(recordSize(l.found.Record), len(l.reads))
		}
		most += 200 // where it may have been applied
	}
	parked, kept := 0, 0
	for _, cl := range m.claims {
		if n := len(cl.parked); n > 0 {
			kept += n
			most += 200 + 300*n
		}
		for _, p := range cl.parked {
			if p.over {
				continue
			}
			parked++
			oldest = earlier(oldest, p.oldest.Truncate(time.Millisecond))
		}
	}
	most += 300 * len(m.late)
	if s.plan.doubt {
		most += 300 * int(m.count["ended "+metrics.Outcomes[metrics.SetAside]]) // contacts that go alone for an hour
	}
	check("pending contacts", b.PendingContacts, float64(pending))
	check("requests in flight", b.InFlightRequests, float64(len(s.requests)))
	check("rows in flight", b.InFlightRows, float64(rows))
	full := 0.0
	if s.window.Full() {
		full = 1
	}
	check("window full", b.Full, full)
	if n := testutil.ToFloat64(b.Bytes); n < float64(least) || n > float64(most) || pending+len(m.letters)+kept+len(m.late) == 0 && !s.plan.doubt && n != 0 {
		s.fail("I8", "the window holds %v bytes, want from %d to %d", n, least, most)
	}
	if age := max(testutil.ToFloat64(b.OldestPendingAge.WithLabelValues("active")), testutil.ToFloat64(b.OldestPendingAge.WithLabelValues("on_hold"))); age > s.now.Sub(oldest).Seconds() || pending == 1 && parked == 0 && !waits && age != s.now.Sub(oldest).Seconds() {
		s.fail("metrics", "the oldest of %d contacts has age %v, want %v", pending, age, s.now.Sub(oldest).Seconds())
	}
	if m.cfg.RememberContacts > 1000 {
		check("remembered contacts", b.RememberedContacts, float64(len(m.seen)+len(m.gone)))
	}
	accounts := 0
	for _, a := range m.accounts {
		if !a.used {
			continue
		}
		if a.held {
			accounts++
		}
		for _, kind := range metrics.HoldKinds {
			if kind == "alone" || kind == "failing" {
				continue // which contacts are tried alone, and when a stream stalls, is left open by the model
			}
			streams, contacts, longest := 0.0, 0.0, 0.0
			for _, st := range m.streams {
				if n := len(m.of(st)); st.account == a && st.onHold() && st.holdKind() == kind && (st.hold != nil || n > 0) {
					streams++
					contacts += float64(n)
					longest = max(longest, s.now.Sub(st.holdSince()).Seconds())
				}
			}
			check("streams on hold", b.StreamsOnHold.WithLabelValues(a.name, kind), streams)
			check("contacts on hold", b.ContactsOnHold.WithLabelValues(a.name, kind), contacts)
			check("longest hold", b.OldestHoldAge.WithLabelValues(a.name, kind), longest)
		}
		check("request max rows", b.RequestMaxRows.WithLabelValues(a.name), float64(a.rows))
		check("request max bytes", b.RequestMaxBytes.WithLabelValues(a.name), float64(a.bytes))
	}
	check("accounts on hold", b.AccountsOnHold, float64(accounts))
}

// recordSize is what a record takes.
func recordSize(r contactsync.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 40
	}
	return n
}

// measureOverhead finds what a Window charges for a contact besides its record and its
// event, and for a stream.
func (s *simRun) measureOverhead() {
	claim := contactsync.Claim{Generation: 1}
	ev := s.decoder.Decode(contactsync.Record{Generation: 1, Value: []byte(`{"streamId":"s0","contact":{"id":"c0"}}`)})
	w := batcher.NewWindow(s.cfg, func(string) (batcher.Gate, bool) { return nil, false }, &metrics.New(prometheus.NewRegistry()).Batcher, 1)
	w.Assign(s.now, []contactsync.Claim{claim}, false)
	w.Add(s.now, &ev)
	one, id := int(w.Status(s.now).Bytes), ev.Contact.ID
	ev.Contact.ID = "c1"
	w.Add(s.now, &ev)
	contact := int(w.Status(s.now).Bytes) - one
	s.overhead, s.streamOverhead = contact-recordSize(ev.Record)-24, one-contact
	ev.Contact.ID = id
}
