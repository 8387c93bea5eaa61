package consumer_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
	"github.com/contactsync/contactsync/metrics"
)

// fakes are a consumer whose group, log and sink are played by the test, in one bubble.
// They note what is asked of them, in order.
type fakes struct {
	next    func(n int) (*kafka.Generation, error) // the n-th call of Next, from 1
	commit  func(gen *kafka.Generation, o kafka.Committed) error
	ask     func() kafka.Committed    // for the committed offset of a partition
	hold    time.Duration             // how long a release takes
	keep    int64                     // the event at this offset stays open; -1 for none
	slow    time.Duration             // how long an Add takes, whatever ends meanwhile
	stable  int64                     // the last stable offset of each partition
	end     func() int64              // of each partition, as its bounds say
	atWork  func() time.Time          // what a release returns
	epoch   func(offset int64) int32  // of the leader that has written the record there
	batches func(offset int64) []byte // of an answer, where the test decides; nil for the usual ones

	topic [16]byte // id of the topic by now

	consumer *consumer.Consumer
	log      bytes.Buffer // read it when Run has returned

	mu       sync.Mutex
	calls    []string
	nexts    int
	caughtUp int
	before   []contactsync.State                        // of the events that were added
	broken   []contactsync.Position                     // those that are no events
	opened   []int64                                    // offsets of those that no earlier owner had ended
	values   func(partition int32, offset int64) string // of the log
	furthest int64                                      // offset that was fetched
	largest  int32                                      // number of bytes that a fetch asked for
	registry *prometheus.Registry
	last     kafka.Committed  // what was committed, where the test notes it
	first    *kafka.Committed // of the first generation

	leave      func(ev *event.Event) bool // whether the sink leaves an event to be read again; nil for never
	begins     atomic.Int64               // what retention has left of each partition
	pass       atomic.Int64               // in which what was left is read again
	leaderless int32                      // a partition without a leader; 0 for none
	forbidden  int32                      // a partition that may not be read; 0 for none
	size       atomic.Int64               // records in each partition's log
	away       atomic.Bool                // no broker says where a partition ends
	adrift     atomic.Bool                // no broker leads a partition: fetches fail
}

func (f *fakes) LeaseUntil() time.Time { return time.Time{} }

// records is how many each partition has.
const records = 5

func newFakes(t *testing.T) *fakes {
	t.Helper()
	return newFakesWith(t, func(*consumer.Config) {})
}

func newFakesWith(t *testing.T, change func(*consumer.Config)) *fakes {
	t.Helper()
	f := &fakes{
		registry: prometheus.NewRegistry(), atWork: func() time.Time { return time.Time{} },
		keep: -1, stable: records, values: func(int32, int64) string { return "{}" }, end: func() int64 { return records }, epoch: func(int64) int32 { return 0 },
		commit: func(*kafka.Generation, kafka.Committed) error { return nil },
	}
	f.size.Store(records)
	cfg := consumer.DefaultConfig()
	cfg.Topics, cfg.Group = []string{"contacts"}, "group"
	change(&cfg)
	decoder, err := event.NewDecoder(event.DefaultConfig(), nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&f.log, nil))
	f.consumer = consumer.New(cfg, consumer.Deps{
		Kafka: kafka.NewOn(f, []string{"broker:1"}, 10*time.Second, log), Group: f, Decoder: decoder,
		OnAssign: func(int, int) {}, Log: log, Metrics: &metrics.New(f.registry).Consumer,
	})
	return f
}

// run runs the consumer until stop or until it gives up.
func (f *fakes) run(t *testing.T) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.consumer.Run(ctx, f) }()
	return func() error { cancel(); return <-ended }
}

// runOnce runs the consumer with one generation of one partition.
func (f *fakes) runOnce(t *testing.T, committed int64) (stop func() error, end context.CancelCauseFunc) {
	t.Helper()
	gen, end := generation(1, 1)
	gen.Owned[0].Offset = committed
	f.once(gen)
	return f.run(t), end
}

// once has the group assign one generation only.
func (f *fakes) once(gen *kafka.Generation) {
	f.next = func(n int) (*kafka.Generation, error) {
		if n > 1 {
			return nil, nil
		}
		return gen, nil
	}
}

// cut leaves so many records in each partition's log.
func (f *fakes) cut(n int64) { f.size.Store(n) }

// epochEnd is the offset behind what leaders up to and with epoch have written; -1 where no
// later one has.
func (f *fakes) epochEnd(epoch int32) int64 {
	for o := range f.size.Load() {
		if f.epoch(o) > epoch {
			return o
		}
	}
	return -1
}

func (f *fakes) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// did returns the calls since the last time.
func (f *fakes) did() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.calls = nil }()
	return strings.Join(f.calls, ", ")
}

// generation returns one of the first partitions, with nothing committed, and what ends it.
func generation(id int32, partitions int) (*kafka.Generation, context.CancelCauseFunc) {
	ended, end := context.WithCancelCause(context.Background())
	g := &kafka.Generation{ID: id, Group: id, Member: "member", All: partitions, Ended: ended, Lost: context.Background()}
	for p := range partitions {
		at := contactsync.TopicPartition{Topic: "contacts", Partition: int32(p)}
		g.Owned = append(g.Owned, kafka.Committed{TopicPartition: at, Offset: kafka.NoOffset})
	}
	return g, end
}

func (f *fakes) Next(ctx context.Context) (*kafka.Generation, error) {
	f.mu.Lock()
	f.nexts++
	n := f.nexts
	f.mu.Unlock()
	f.note("next")
	gen, err := f.next(n)
	if gen == nil && err == nil { // there is no further one
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return gen, err
}

func (f *fakes) Committed(_ context.Context, _ *kafka.Generation, p contactsync.TopicPartition) kafka.Committed {
	f.note("committed of %v", p)
	c := f.ask()
	c.TopicPartition = p
	return c
}

func (f *fakes) Commit(_ context.Context, gen *kafka.Generation, offsets []kafka.Committed) ([]error, error) {
	failed := make([]error, len(offsets))
	for i, o := range offsets {
		f.note("commit %v@%d in %d", o.TopicPartition, o.Offset, gen.ID)
		failed[i] = f.commit(gen, o)
	}
	return failed, nil
}

func (f *fakes) TopicID(context.Context, string) ([16]byte, error) { return f.topic, nil }

func (f *fakes) Leave(context.Context) error { f.note("leave"); return nil }

func (f *fakes) Assign(claims []contactsync.Claim, _ bool) { f.note("assign %d", len(claims)) }

func (f *fakes) Add(_ context.Context, events []event.Event) error {
	var ended []contactsync.Ended
	for _, e := range events {
		if f.leave != nil && f.leave(&e) {
			f.consumer.Park(leftOf(&e))
			continue
		}
		f.mu.Lock()
		f.before = append(f.before, e.Before)
		if e.Before == contactsync.Open {
			f.opened = append(f.opened, e.Record.Offset)
		}
		if e.Err != nil {
			f.broken = append(f.broken, e.Record.Position)
		}
		f.mu.Unlock()
		if e.Err != nil && e.Err.Reason == contactsync.ReasonUnreadable {
			f.note("dead letter of %d: %s", e.Record.Offset, e.Err.Detail)
		}
		if e.Record.Offset != f.keep {
			ended = append(ended, contactsync.Ended{Claim: e.Record.Claim(), Offset: e.Record.Offset})
		}
	}
	if f.slow > 0 {
		kafka.Sleep(context.Background(), f.slow)
		f.note("added")
	}
	f.consumer.Done(ended)
	return nil
}

func (f *fakes) CaughtUp(contactsync.Claim) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.caughtUp++
}

func (f *fakes) ReadAgain(contactsync.Claim) int { return int(f.pass.Load()) }

func (f *fakes) ReadAgainDone(c contactsync.Claim, pass, gone int) {
	f.note("read again %v in %d, %d gone", c.TopicPartition, pass, gone)
	f.pass.Store(0)
}

func (f *fakes) Release(ctx context.Context) (time.Time, error) {
	if ctx.Err() != nil {
		f.note("give up")
		return time.Time{}, context.Cause(ctx)
	}
	f.note("release")
	if f.hold > 0 && !kafka.Sleep(ctx, f.hold) {
		f.note("given up")
		return time.Time{}, context.Cause(ctx)
	}
	return f.atWork(), nil
}

func (f *fakes) caughtUpCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.caughtUp
}

func (f *fakes) lastCommit() kafka.Committed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// befores are how far the events that were added had got under an earlier owner.
func (f *fakes) befores() []contactsync.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.before)
}

// value is that of a counter or gauge with one label, or of all where that is empty.
func (f *fakes) value(name, label string) (v float64) {
	families, _ := f.registry.Gather()
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == label) {
				v += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return v
}

// gauge is that of a gauge without labels.
func (f *fakes) gauge(name string) (v float64) {
	families, _ := f.registry.Gather()
	for _, family := range families {
		if family.GetName() == name {
			v = family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return v
}

// RoundTrip is the log: five records in each partition.
func (f *fakes) RoundTrip(ctx context.Context, _ net.Addr, req kafkago.Request) (kafkago.Response, error) {
	switch req := req.(type) {
	case *listoffsets.Request:
		asked := req.Topics[0]
		answer := listoffsets.ResponseTopic{Topic: asked.Topic}
		for _, p := range asked.Partitions {
			if f.away.Load() || f.leaderless != 0 && p.Partition == f.leaderless {
				return nil, kafkago.LeaderNotAvailable
			}
			if f.forbidden != 0 && p.Partition == f.forbidden {
				return nil, kafkago.TopicAuthorizationFailed
			}
			o := listoffsets.ResponsePartition{Partition: p.Partition, Timestamp: p.Timestamp}
			if p.Timestamp == kafkago.LastOffset {
				o.Offset = f.end()
			} else {
				o.Offset = f.begins.Load()
			}
			answer.Partitions = append(answer.Partitions, o)
		}
		return &listoffsets.Response{Topics: []listoffsets.ResponseTopic{answer}}, nil
	}
	if req.ApiKey() == protocol.OffsetForLeaderEpoch {
		return kafkatest.EpochEnd[protocol.Message](req, func(req *kmsg.OffsetForLeaderEpochRequest) *kmsg.OffsetForLeaderEpochResponse {
			return kafkatest.EndOf(req, f.epochEnd(req.Topics[0].Partitions[0].LeaderEpoch))
		})
	}
	return kafkatest.Fetch[protocol.Message](req, func(req *kmsg.FetchRequest) *kmsg.FetchResponse {
		asked := req.Topics[0].Partitions[0]
		part := kmsg.NewFetchResponseTopicPartition()
		stable := min(f.stable, f.size.Load())
		f.mu.Lock()
		f.furthest, f.largest = max(f.furthest, asked.FetchOffset), max(f.largest, asked.PartitionMaxBytes)
		values := f.values
		f.mu.Unlock()
		if f.batches != nil {
			part.RecordBatches = f.batches(asked.FetchOffset)
		}
		part.HighWatermark, part.LastStableOffset = f.size.Load(), stable
		switch {
		case f.adrift.Load():
			part.ErrorCode = int16(kafkago.NotLeaderForPartition)
		case part.RecordBatches != nil:
		case asked.FetchOffset > f.size.Load(), asked.FetchOffset < f.begins.Load():
			part.ErrorCode = int16(kafkago.OffsetOutOfRange)
		case asked.FetchOffset < stable:
			var all []kmsg.Record
			epoch := f.epoch(asked.FetchOffset)
			for o := asked.FetchOffset; o < min(stable, asked.FetchOffset+1000) && f.epoch(o) == epoch; o++ { // as fetch_max_bytes bounds it
				all = append(all, kmsg.Record{OffsetDelta: int32(o - asked.FetchOffset), Value: []byte(values(asked.Partition, o))})
			}
			part.RecordBatches = kafkatest.Batch(kmsg.RecordBatch{FirstOffset: asked.FetchOffset, PartitionLeaderEpoch: epoch}, all...)
		case !kafka.Sleep(ctx, time.Duration(req.MaxWaitMillis)*time.Millisecond):
			return nil
		}
		return kafkatest.Answer(req, part)
	})
}
