package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/metrics"
)

// fakes are a consumer whose group, log and sink are played by the test, in one bubble.
// They note what is asked of them, in order.
type fakes struct {
	next   func(n int) (*kafka.Generation, error) // the n-th call of Next, from 1
	commit func(gen *kafka.Generation, o kafka.Committed) error
	ask    func() kafka.Committed // for the committed offset of a partition
	hold   time.Duration          // how long a release takes
	keep   int64                  // the event at this offset stays open; -1 for none

	consumer *consumer.Consumer
	log      bytes.Buffer // read it when Run has returned

	mu    sync.Mutex
	calls []string
	nexts int
}

func (f *fakes) LeaseUntil() time.Time { return time.Time{} }

// records is how many each partition has.
const records = 5

func newFakes(t *testing.T) *fakes {
	t.Helper()
	f := &fakes{keep: -1, commit: func(*kafka.Generation, kafka.Committed) error { return nil }}
	cfg := consumer.DefaultConfig()
	cfg.Topics, cfg.Group = []string{"contacts"}, "group"
	decoder, err := event.NewDecoder(event.DefaultConfig(), nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&f.log, nil))
	f.consumer = consumer.New(cfg, consumer.Deps{
		Kafka: kafka.NewOn(f, []string{"broker:1"}, 10*time.Second, log), Group: f, Decoder: decoder,
		OnAssign: func(int, int) {}, Log: log, Metrics: &metrics.New(prometheus.NewRegistry()).Consumer,
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

func (f *fakes) Leave(context.Context) error { f.note("leave"); return nil }

func (f *fakes) Assign(claims []contactsync.Claim, _ bool) { f.note("assign %d", len(claims)) }

func (f *fakes) Add(_ context.Context, events []event.Event) error {
	var ended []contactsync.Ended
	for _, e := range events {
		if e.Record.Offset != f.keep {
			ended = append(ended, contactsync.Ended{Claim: e.Record.Claim(), Offset: e.Record.Offset})
		}
	}
	f.consumer.Done(ended)
	return nil
}

func (f *fakes) CaughtUp(contactsync.Claim) {}

func (f *fakes) Release(ctx context.Context) error {
	if ctx.Err() != nil {
		f.note("give up")
		return context.Cause(ctx)
	}
	f.note("release")
	if f.hold > 0 && !kafka.Sleep(ctx, f.hold) {
		f.note("given up")
		return context.Cause(ctx)
	}
	return nil
}

// RoundTrip is the log: five records in each partition.
func (f *fakes) RoundTrip(ctx context.Context, _ net.Addr, req kafkago.Request) (kafkago.Response, error) {
	switch req := req.(type) {
	case *listoffsets.Request:
		asked := req.Topics[0]
		answer := listoffsets.ResponseTopic{Topic: asked.Topic}
		for _, p := range asked.Partitions {
			o := listoffsets.ResponsePartition{Partition: p.Partition, Timestamp: p.Timestamp}
			if p.Timestamp == kafkago.LastOffset {
				o.Offset = records
			}
			answer.Partitions = append(answer.Partitions, o)
		}
		return &listoffsets.Response{Topics: []listoffsets.ResponseTopic{answer}}, nil
	case *fetch.Request:
		asked := req.Topics[0].Partitions[0]
		part := fetch.ResponsePartition{Partition: asked.Partition, HighWatermark: records, LastStableOffset: records}
		if asked.FetchOffset < records {
			var batch []protocol.Record
			for o := asked.FetchOffset; o < records; o++ {
				batch = append(batch, protocol.Record{Offset: o, Value: protocol.NewBytes([]byte("{}"))})
			}
			part.RecordSet.Records = &protocol.RecordStream{Records: []protocol.RecordReader{
				&protocol.RecordBatch{BaseOffset: asked.FetchOffset, Records: protocol.NewRecordReader(batch...)},
			}}
		} else if !kafka.Sleep(ctx, time.Duration(req.MaxWaitTime)*time.Millisecond) {
			return nil, ctx.Err()
		}
		return &fetch.Response{Topics: []fetch.ResponseTopic{{Topic: "contacts", Partitions: []fetch.ResponsePartition{part}}}}, nil
	}
	return nil, fmt.Errorf("BUG: a request of type %T", req)
}

// What ends a generation, its events are drained and committed in it, and only then
// is the next one asked for.
func TestConsumer_DrainsAndCommitsBeforeItGivesAGenerationUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		first, end := generation(1, 1)
		second, _ := generation(2, 1)
		f.next = func(n int) (*kafka.Generation, error) {
			return []*kafka.Generation{first, second}[n-1], nil
		}
		stop := f.run(t)
		synctest.Wait()
		if got := f.did(); got != "next, assign 1" {
			t.Errorf("at the start: %s", got)
		}
		end(kafka.ErrRebalance)
		synctest.Wait()
		if got := f.did(); got != "release, commit contacts/0@5 in 1, next, assign 1" {
			t.Errorf("at the rebalance: %s", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := f.did(); got != "release, commit contacts/0@5 in 2, leave" {
			t.Errorf("at the stop: %s", got)
		}
		for _, line := range []string{"rebalance: releasing partitions", "stopping: releasing partitions"} {
			if strings.Count(f.log.String(), line) != 1 {
				t.Errorf("%q is not logged once:\n%s", line, &f.log)
			}
		}
	})
}

// A member that is one no more forgets at once: its partitions may have another owner.
func TestConsumer_NothingIsSentOrCommittedOnceTheGenerationIsLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, want string }{
		{"without warning", "give up, next"},
		{"while it is given up", "release, given up, next"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				f.hold = time.Minute
				gen, end := generation(1, 1)
				lost, lose := context.WithCancelCause(context.Background())
				gen.Lost = lost
				f.next = func(n int) (*kafka.Generation, error) {
					if n == 1 {
						return gen, nil
					}
					return nil, nil
				}
				stop := f.run(t)
				synctest.Wait()
				f.did()
				start := time.Now()
				if c.name == "without warning" {
					lose(kafka.ErrFenced)
					end(kafka.ErrFenced)
				} else {
					end(kafka.ErrRebalance)
					kafka.Sleep(t.Context(), 2*time.Second)
					lose(kafka.ErrFenced)
				}
				synctest.Wait()
				if got := f.did(); got != c.want {
					t.Errorf("I4: %s, want %s", got, c.want)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("after %v", took)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// One partition whose committed offset Kafka does not say stops no other one.
func TestConsumer_ReadsTheOthersWhereACommittedOffsetIsNotKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		gen, _ := generation(1, 2)
		gen.Owned[1].Err = errors.New("denied")
		start := time.Now()
		f.ask = func() kafka.Committed {
			if time.Since(start) < time.Minute {
				return kafka.Committed{Err: errors.New("denied")}
			}
			return kafka.Committed{Offset: 2}
		}
		f.next = func(int) (*kafka.Generation, error) { return gen, nil }
		stop := f.run(t)
		kafka.Sleep(t.Context(), 10*time.Second)
		if got := f.did(); got != "next, assign 2, commit contacts/0@5 in 1" {
			t.Error(got)
		}
		if f.consumer.Ready() {
			t.Error("ready although a partition is not read")
		}
		kafka.Sleep(t.Context(), 2*time.Minute)
		if got := f.did(); got != "committed of contacts/1, committed of contacts/1, commit contacts/1@5 in 1" {
			t.Error(got)
		}
		if !f.consumer.Ready() {
			t.Error("not ready although every partition is read")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Kafka says that another member owns the partitions: nothing is gained by asking again.
func TestConsumer_AFencedMemberGivesItsPartitionsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		gen, _ := generation(1, 1)
		f.next = func(n int) (*kafka.Generation, error) {
			if n == 1 {
				return gen, nil
			}
			return nil, nil
		}
		f.commit = func(*kafka.Generation, kafka.Committed) error { return kafka.ErrFenced }
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		if got := f.did(); got != "next, assign 1, commit contacts/0@5 in 1, release, commit contacts/0@5 in 1, next" {
			t.Error(got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A partition whose commit fails is tried again, without those that were taken.
func TestConsumer_CommitsAgainWhatWasNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.keep = 3
		gen, _ := generation(1, 2)
		f.next = func(int) (*kafka.Generation, error) { return gen, nil }
		refusals := 2
		f.commit = func(_ *kafka.Generation, o kafka.Committed) error {
			if o.Partition == 1 && refusals > 0 {
				refusals--
				return errors.New("the coordinator is loading")
			}
			return nil
		}
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		calls := strings.Split(f.did(), ", ")[2:]
		slices.Sort(calls)
		want := slices.Repeat([]string{"commit contacts/1@3 in 1"}, 3)
		if want = slices.Insert(want, 0, "commit contacts/0@3 in 1"); !slices.Equal(calls, want) {
			t.Errorf("I2: %q, want %q", calls, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestConsumer_JoinsAgainAfterAnErrorAndGivesUpWithoutATopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.next = func(n int) (*kafka.Generation, error) {
			switch n {
			case 1:
				return nil, errors.New("dial tcp :0")
			case 2:
				return nil, kafka.ErrRebalance
			}
			return nil, fmt.Errorf("topic %q: %w", "contacts", kafka.ErrNoTopic)
		}
		start := time.Now()
		err := f.consumer.Run(t.Context(), f)
		if !errors.Is(err, kafka.ErrNoTopic) || !strings.Contains(err.Error(), "consumer.topics") {
			t.Errorf("Run: %v", err)
		}
		if got := f.did(); got != "next, next, next, leave" {
			t.Error(got)
		}
		if time.Since(start) == 0 {
			t.Error("no wait between the attempts")
		}
		if n := strings.Count(f.log.String(), "joining the group failed"); n != 1 {
			t.Errorf("%d failures are logged, want 1: a rebalance is none\n%s", n, &f.log)
		}
	})
}

// An absent Kafka fails each attempt; only an attempt that hangs is cured by a restart.
func TestConsumer_IsStuckOnlyWhereJoiningHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		hang := make(chan struct{})
		f.next = func(int) (*kafka.Generation, error) {
			select {
			case <-hang:
				return nil, nil
			default:
				return nil, errors.New("connection refused")
			}
		}
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Hour)
		if why := f.consumer.Stuck(time.Now(), time.Minute); why != "" {
			t.Errorf("without Kafka: %s", why)
		}
		close(hang)
		kafka.Sleep(t.Context(), time.Hour)
		if f.consumer.Stuck(time.Now(), time.Minute) == "" {
			t.Error("not stuck although joining has hung for an hour")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
