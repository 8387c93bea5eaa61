package replay_test

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/metrics"
)

// openGate lets every request through.
type openGate struct{}

func (openGate) Admit(time.Time, string, bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	return func(time.Time, contactsync.Result) time.Time { return time.Time{} }, time.Time{}
}

func (openGate) PerSecond() float64 { return 0 }

// fakeService is the service without goroutines, so that everything happens in the
// order in which it was drawn: partitions that are read from a committed offset on, a
// Window, and dead letters.
type fakeService struct {
	sim       *simulation
	win       *batcher.Window
	cfg       batcher.Config
	gen       int32
	read      []int64
	committed []int64
	catch     []int64 // up to where a partition has to be read first; -1 when it was
	ended     []map[int64]bool
	fed       map[int]bool // the events that this process was given, and whether as a replay
	requests  []*batcher.Request
}

func newFakeService(sim *simulation, partitions, remember int) *fakeService {
	s := &fakeService{sim: sim, cfg: batcher.DefaultConfig(), read: make([]int64, partitions), committed: make([]int64, partitions), catch: make([]int64, partitions), ended: make([]map[int64]bool, partitions)}
	s.cfg.MaxRows, s.cfg.Linger, s.cfg.MaxInFlight = 2, 0, 2
	s.cfg.DeadLetterMaxPerMinute, s.cfg.DeadLetterMaxRatio, s.cfg.RowAttempts, s.cfg.RememberContacts = 1<<20, 1, 1, remember
	s.restart(true)
	return s
}

// restart gives all partitions back and takes them again; with another process, which
// remembers nothing, if process is set.
func (s *fakeService) restart(process bool) {
	if !process {
		s.win.Forget(s.sim.clock)
		for len(s.requests) > 0 {
			s.settle(0, contactsync.Result{Kind: contactsync.Canceled})
		}
	} else {
		s.win = batcher.NewWindow(s.cfg, func(string) (batcher.Gate, bool) { return openGate{}, true }, &metrics.New(prometheus.NewRegistry()).Batcher, 7)
		s.fed, s.requests = map[int]bool{}, nil
	}
	s.gen++
	var claims []contactsync.Claim
	for p := range s.read {
		claims = append(claims, s.claim(p))
		s.read[p], s.catch[p], s.ended[p] = s.committed[p], s.sim.source[p].end(), map[int64]bool{}
	}
	s.win.Assign(s.sim.clock, claims, true)
	for p := range s.read {
		s.caughtUp(p)
	}
}

func (s *fakeService) claim(p int) contactsync.Claim {
	return contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: int32(p)}, Generation: s.gen}
}

func (s *fakeService) caughtUp(p int) {
	if s.catch[p] >= 0 && s.read[p] >= s.catch[p] {
		s.catch[p] = -1
		s.win.CaughtUp(s.sim.clock, s.claim(p))
	}
}

// fetch gives the next record of a partition to the window.
func (s *fakeService) fetch(p int) bool {
	if s.read[p] >= s.sim.source[p].end() {
		return false
	}
	rec := s.sim.source[p].log[s.read[p]]
	if rec == nil { // compacted
		s.ended[p][s.read[p]] = true
	} else {
		ev := s.sim.decoder.Decode(*rec)
		ev.Record.Generation = s.gen
		ev.Contact.Account = "acme"
		if seq, ok := seqOf(rec.Value); ok {
			s.fed[seq] = s.fed[seq] || ev.Replay != nil
		}
		s.win.Add(s.sim.clock, &ev)
	}
	s.read[p]++
	s.caughtUp(p)
	return true
}

// send starts what may start, and answers the oldest request.
func (s *fakeService) send(hold bool) bool {
	for q := s.win.Next(s.sim.clock); q != nil; q = s.win.Next(s.sim.clock) {
		s.requests = append(s.requests, q)
	}
	if len(s.requests) == 0 || hold {
		return false
	}
	q := s.requests[0]
	r := contactsync.Result{Kind: contactsync.Answered, Status: 200}
	for _, row := range q.Batch.Rows {
		seq, _ := seqOf(row.Body)
		o := s.sim.answer()
		if o.Verdict == contactsync.Delivered {
			s.sim.applied(contactID{q.Batch.Stream, row.ID}, seq, s.fed[seq])
		}
		r.Rows = append(r.Rows, o)
	}
	s.settle(0, r)
	return true
}

func (s *fakeService) settle(i int, r contactsync.Result) {
	q := s.requests[i]
	s.requests = slices.Delete(s.requests, i, i+1)
	s.win.Settle(s.sim.clock, q, r)
}

// writeDeadLetters writes the dead letters that wait, and commits. A process that ends between
// the two writes them again: copies.
func (s *fakeService) writeDeadLetters(commit bool) {
	taken := s.win.TakeDeadLetters()
	deadLetters := make([]contactsync.DeadLetter, len(taken))
	for i, d := range taken {
		deadLetters[i] = d.DeadLetter
	}
	if unacked, err := s.sim.writer.Publish(context.Background(), deadLetters); err != nil || len(unacked) > 0 {
		s.sim.t.Fatalf("%d dead letters are not written: %v", len(unacked), err)
	}
	if !commit {
		s.restart(true)
		return
	}
	s.win.DeadLettersAcked(s.sim.clock, taken)
	for _, at := range s.win.TakeEnded() {
		if at.Generation == s.gen {
			s.ended[at.Partition][at.Offset] = true
		}
	}
	for p := range s.committed {
		for s.ended[p][s.committed[p]] {
			s.committed[p]++
		}
	}
}

// drain reads and sends everything.
func (s *fakeService) drain() {
	for range 1000 {
		busy := false
		for p := range s.read {
			for s.fetch(p) {
				busy = true
			}
		}
		for s.send(false) {
			busy = true
		}
		s.writeDeadLetters(true)
		if wake := s.win.Wake(); wake.After(s.sim.clock) {
			s.sim.clock, busy = wake, true
		}
		if !busy {
			return
		}
	}
	s.sim.t.Fatalf("(e) the service does not end")
}

// knows reports whether this process was given an event.
func (s *fakeService) knows(seq int) bool {
	_, ok := s.fed[seq]
	return ok
}

// seqOf returns the seq in an event's value or in a contact.
func seqOf(body []byte) (int, bool) {
	var v struct {
		Seq     int
		Contact struct{ Seq int }
	}
	if json.Unmarshal(body, &v) != nil {
		return 0, false
	}
	return v.Seq + v.Contact.Seq, v.Seq+v.Contact.Seq > 0
}
