package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// What is around a replay in the simulation: Kafka in memory, below package kafka, and
// the service around a Window. Neither has a goroutine, so a world is played in the
// order in which it was drawn.

// simKafka is a cluster in memory. It sets the records' times itself.
type simKafka struct {
	topics map[string][]*simPartition
	now    func() time.Time
	wrote  func(contactsync.Record) // told each record that is written to the source topic by request
}

type simPartition struct {
	first int64
	log   []*contactsync.Record // by offset; nil where compaction has removed one
	most  int                   // bytes that a value may have
}

func (p *simPartition) end() int64 { return int64(len(p.log)) }

func (p *simPartition) has(offset int64) bool {
	return offset >= p.first && offset < p.end() && p.log[offset] != nil
}

func (p *simPartition) add(rec contactsync.Record) contactsync.Record {
	rec.Offset = p.end()
	p.log = append(p.log, &rec)
	return rec
}

// RoundTrip answers what package kafka and the writer of dead letters ask.
func (k *simKafka) RoundTrip(_ context.Context, _ net.Addr, req kafkago.Request) (kafkago.Response, error) {
	switch req := req.(type) {
	case *metadata.Request:
		res := &metadata.Response{Brokers: []metadata.ResponseBroker{{NodeID: 1, Host: "sim", Port: 1}}}
		for _, name := range req.TopicNames {
			t := metadata.ResponseTopic{Name: name}
			for p := range k.topics[name] {
				t.Partitions = append(t.Partitions, metadata.ResponsePartition{PartitionIndex: int32(p), LeaderID: 1})
			}
			res.Topics = append(res.Topics, t)
		}
		return res, nil
	case *listoffsets.Request:
		res := &listoffsets.Response{}
		for _, t := range req.Topics {
			answer := listoffsets.ResponseTopic{Topic: t.Topic}
			for _, p := range t.Partitions {
				answer.Partitions = append(answer.Partitions, listoffsets.ResponsePartition{
					Partition: p.Partition, Timestamp: p.Timestamp, Offset: k.topics[t.Topic][p.Partition].offsetAt(p.Timestamp),
				})
			}
			res.Topics = append(res.Topics, answer)
		}
		return res, nil
	case *fetch.Request:
		asked := req.Topics[0].Partitions[0]
		answer := k.topics[req.Topics[0].Topic][asked.Partition].fetch(asked.FetchOffset)
		answer.Partition = asked.Partition
		return &fetch.Response{Topics: []fetch.ResponseTopic{{Topic: req.Topics[0].Topic, Partitions: []fetch.ResponsePartition{answer}}}}, nil
	case *produce.Request:
		asked := req.Topics[0].Partitions[0]
		answer := produce.ResponsePartition{Partition: asked.Partition}
		records, err := recordsOf(req)
		if err != nil {
			return nil, err
		}
		p := k.topics[req.Topics[0].Topic][asked.Partition]
		if slices.ContainsFunc(records, func(r contactsync.Record) bool { return len(r.Value) > p.most }) {
			answer.ErrorCode = int16(kafkago.MessageSizeTooLarge)
		} else {
			for _, rec := range records {
				rec.Time = k.now()
				if rec = p.add(rec); rec.Topic == "t" {
					k.wrote(rec)
				}
			}
		}
		return &produce.Response{Topics: []produce.ResponseTopic{{Topic: req.Topics[0].Topic, Partitions: []produce.ResponsePartition{answer}}}}, nil
	}
	return nil, fmt.Errorf("BUG: a request of type %T", req)
}

func (p *simPartition) offsetAt(timestamp int64) int64 {
	switch timestamp {
	case kafkago.FirstOffset:
		return p.first
	case kafkago.LastOffset:
		return p.end()
	}
	for offset := p.first; offset < p.end(); offset++ {
		if p.has(offset) && p.log[offset].Time.UnixMilli() >= timestamp {
			return offset
		}
	}
	return -1
}

// fetch returns a few records, so that a stretch takes several answers.
func (p *simPartition) fetch(from int64) fetch.ResponsePartition {
	answer := fetch.ResponsePartition{HighWatermark: p.end(), LastStableOffset: p.end(), LogStartOffset: p.first}
	if from < p.first || from > p.end() {
		answer.ErrorCode = int16(kafkago.OffsetOutOfRange)
		return answer
	}
	var batch []protocol.Record
	for offset := from; offset < p.end() && len(batch) < 5; offset++ {
		if !p.has(offset) {
			continue
		}
		rec := p.log[offset]
		r := protocol.Record{Offset: offset, Time: rec.Time, Key: kafkago.NewBytes(rec.Key), Value: kafkago.NewBytes(rec.Value)}
		for _, h := range rec.Headers {
			r.Headers = append(r.Headers, kafkago.Header(h))
		}
		batch = append(batch, r)
	}
	if len(batch) > 0 {
		answer.RecordSet.Records = &protocol.RecordStream{Records: []protocol.RecordReader{
			&protocol.RecordBatch{BaseOffset: batch[0].Offset, Records: protocol.NewRecordReader(batch...)},
		}}
	}
	return answer
}

func recordsOf(req *produce.Request) ([]contactsync.Record, error) {
	part := req.Topics[0].Partitions[0]
	claim := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: req.Topics[0].Topic, Partition: part.Partition}}
	var records []contactsync.Record
	for {
		r, err := part.RecordSet.Records.ReadRecord()
		if err != nil { // io.EOF
			return records, nil
		}
		rec := contactsync.Record{Position: contactsync.Position{TopicPartition: claim.TopicPartition}, Generation: claim.Generation}
		var errs [2]error
		if r.Key != nil {
			rec.Key, errs[0] = protocol.ReadAll(r.Key)
		}
		if r.Value != nil {
			rec.Value, errs[1] = protocol.ReadAll(r.Value)
		}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, contactsync.Header(h))
		}
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
}

// simGate lets every request through.
type simGate struct{}

func (simGate) Admit(time.Time) (func(time.Time, contactsync.Result), time.Time) {
	return func(time.Time, contactsync.Result) {}, time.Time{}
}

// simService is the service: partitions that are read from a committed offset on,
// a Window, and dead letters. A restart is another process, which remembers nothing.
type simService struct {
	w         *simWorld
	win       *batcher.Window
	cfg       batcher.Config
	gen       int32
	read      []int64
	committed []int64
	catch     []int64 // up to where a partition has to be read first; -1 when it was
	ended     []map[int64]bool
	fed       map[int]bool // the events that this process was given, and whether as a replay
	flights   []*batcher.Request
}

func newSimService(w *simWorld, partitions, remember int) *simService {
	s := &simService{w: w, cfg: batcher.DefaultConfig(), read: make([]int64, partitions), committed: make([]int64, partitions), catch: make([]int64, partitions), ended: make([]map[int64]bool, partitions)}
	s.cfg.MaxRows, s.cfg.Linger, s.cfg.MaxInFlight = 2, 0, 2
	s.cfg.DeadLetterMaxPerMinute, s.cfg.DeadLetterMaxRatio, s.cfg.RowAttempts, s.cfg.RememberContacts = 1<<20, 1, 1, remember
	s.restart(true)
	return s
}

// restart gives all partitions back and takes them again.
func (s *simService) restart(process bool) {
	if !process {
		s.win.Forget(s.w.clock)
		for len(s.flights) > 0 {
			s.land(0, contactsync.Result{Kind: contactsync.Canceled})
		}
	} else {
		s.win = batcher.NewWindow(s.cfg, func(string) (batcher.Gate, bool) { return simGate{}, true }, &metrics.New(prometheus.NewRegistry()).Batcher, 7)
		s.fed, s.flights = map[int]bool{}, nil
	}
	s.gen++
	var claims []contactsync.Claim
	for p := range s.read {
		claims = append(claims, s.claim(p))
		s.read[p], s.catch[p], s.ended[p] = s.committed[p], s.w.source[p].end(), map[int64]bool{}
	}
	s.win.Assign(s.w.clock, claims, true)
	for p := range s.read {
		s.caughtUp(p)
	}
}

func (s *simService) claim(p int) contactsync.Claim {
	return contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: int32(p)}, Generation: s.gen}
}

func (s *simService) caughtUp(p int) {
	if s.catch[p] >= 0 && s.read[p] >= s.catch[p] {
		s.catch[p] = -1
		s.win.CaughtUp(s.w.clock, s.claim(p))
	}
}

// fetch gives the next record of a partition to the window.
func (s *simService) fetch(p int) bool {
	if s.read[p] >= s.w.source[p].end() {
		return false
	}
	rec := s.w.source[p].log[s.read[p]]
	if rec == nil { // compacted
		s.ended[p][s.read[p]] = true
	} else {
		ev := s.w.decoder.Decode(*rec)
		ev.Record.Generation = s.gen
		ev.Contact.Account = "acme"
		if seq, ok := seqOf(rec.Value); ok {
			s.fed[seq] = s.fed[seq] || ev.Replay != nil
		}
		s.win.Add(s.w.clock, &ev)
	}
	s.read[p]++
	s.caughtUp(p)
	return true
}

// send starts what may start, and lands the oldest request.
func (s *simService) send(answer func(key simKey, seq int) contactsync.Outcome, hold bool) bool {
	for f := s.win.Next(s.w.clock); f != nil; f = s.win.Next(s.w.clock) {
		s.flights = append(s.flights, f)
	}
	if len(s.flights) == 0 || hold {
		return false
	}
	f := s.flights[0]
	r := contactsync.Result{Kind: contactsync.Answered, Status: 200}
	for _, row := range f.Batch.Rows {
		seq, _ := seqOf(row.Body)
		o := answer(simKey{f.Batch.Stream, row.ID}, seq)
		if o.Verdict == contactsync.Delivered {
			s.w.applied(simKey{f.Batch.Stream, row.ID}, seq, s.fed[seq], nil)
		}
		r.Rows = append(r.Rows, o)
	}
	s.land(0, r)
	return true
}

func (s *simService) land(i int, r contactsync.Result) {
	f := s.flights[i]
	s.flights = slices.Delete(s.flights, i, i+1)
	s.win.Settle(s.w.clock, f, r)
}

// bury writes the dead letters that wait, and commits. A process that ends between
// the two writes them again: copies.
func (s *simService) bury(commit bool) {
	burials := s.win.TakeDeadLetters()
	letters := make([]contactsync.DeadLetter, len(burials))
	for i, b := range burials {
		letters[i] = b.DeadLetter
	}
	if unsent, err := s.w.letters.Publish(context.Background(), letters); err != nil || len(unsent) > 0 {
		s.w.t.Fatalf("%d letters are not written: %v", len(unsent), err)
	}
	if !commit {
		s.restart(true)
		return
	}
	s.win.DeadLettersAcked(s.w.clock, burials)
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
func (s *simService) drain(answer func(simKey, int) contactsync.Outcome) {
	for range 1000 {
		busy := false
		for p := range s.read {
			for s.fetch(p) {
				busy = true
			}
		}
		for s.send(answer, false) {
			busy = true
		}
		s.bury(true)
		if wake := s.win.Wake(); wake.After(s.w.clock) {
			s.w.clock, busy = wake, true
		}
		if !busy {
			return
		}
	}
	s.w.t.Fatalf("(e) the service does not come to an end")
}

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

// simKey names a contact.
type simKey struct{ stream, id string }

// simEvent is one event as it was produced, by its seq.
type simEvent struct {
	keys  []simKey // the contacts that it is about; a tombstone may name one of any stream
	kind  event.Kind
	at    contactsync.Position
	time  time.Time
	said  int64     // version; 0 where it has none
	heard time.Time // occurredAt
}

// says compares two events by what their producer says; 0 where that is nothing.
func (a *simEvent) says(b *simEvent) int {
	switch {
	case a.said > 0 && b.said > 0:
		return int(a.said - b.said)
	case !a.heard.IsZero() && !b.heard.IsZero():
		return a.heard.Compare(b.heard)
	}
	return 0
}

// order compares two events of a contact as docs/deadletters.md says it: above 0
// where a is the newer one, 0 where nobody knows.
func (a *simEvent) order(b *simEvent) int {
	if said := a.says(b); said != 0 {
		return said
	}
	if a.at.TopicPartition == b.at.TopicPartition {
		return int(a.at.Offset - b.at.Offset)
	}
	return a.time.Compare(b.time)
}
