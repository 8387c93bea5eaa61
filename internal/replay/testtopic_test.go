package replay_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/replay"
)

// TestMain makes the simulation the same each time: -rapid.seed=0 -rapid.checks=N runs
// others, and more of them.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "rapid.seed" })
	if !chosen && flag.Set("rapid.seed", "1") != nil {
		panic("BUG: rapid has no such flag any more")
	}
	goleak.VerifyTestMain(m)
}

// testTopic is an embedded broker with a source topic of two partitions.
type testTopic struct {
	t         *testing.T
	broker    *broker.Broker
	client    *kgo.Client
	transport *faulty
	topics    []string // that the service reads
}

// faulty loses answers of the broker and, once it is cut, lets nothing through.
type faulty struct {
	*kafkago.Transport

	mu       sync.Mutex
	writes   int
	onWrite  func(n int) (lose, cut bool) // asked with the number of the write
	cutOff   bool
	afterCut func()
}

func (f *faulty) RoundTrip(ctx context.Context, addr net.Addr, req kafkago.Request) (kafkago.Response, error) {
	f.mu.Lock()
	var lose, cut bool
	if _, ok := req.(*produce.Request); ok && f.onWrite != nil {
		f.writes++
		lose, cut = f.onWrite(f.writes)
	}
	gone := f.cutOff
	f.cutOff = f.cutOff || cut
	f.mu.Unlock()
	if gone {
		return nil, fmt.Errorf("the connection is cut")
	}
	res, err := f.Transport.RoundTrip(ctx, addr, req)
	if cut && f.afterCut != nil {
		f.afterCut()
	}
	if lose || cut {
		return nil, fmt.Errorf("the answer is lost")
	}
	return res, err
}

func newTestTopic(t *testing.T) *testTopic {
	t.Helper()
	b, err := broker.Start(broker.Options{Topics: map[string]int32{"contacts": 2, "foreign": 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	topic := &testTopic{t: t, broker: b, client: client, topics: []string{"contacts"}}
	topic.connect()
	return topic
}

// connect makes a transport without faults, as a new process has.
func (topic *testTopic) connect() {
	ctx, cancel := context.WithCancel(context.Background())
	transport := &kafkago.Transport{Context: ctx}
	topic.t.Cleanup(func() { cancel(); transport.CloseIdleConnections() })
	topic.transport = &faulty{Transport: transport}
}

// body is an event of the native format.
func body(id string, seq int, more string) []byte {
	return fmt.Appendf(nil, `{"streamId":"st-1","contact":{"id":%q,"firstName":"Jane","lastName":"Doe","fullName":"Jane Doe","salutation":"Mrs",`+
		`"cellPhone":{"extension":"+","phoneNumber":"2445671234","countryCode":"+91"},"seq":%d}%s}`, id, seq, more)
}

func (topic *testTopic) produce(partition int32, key string, value []byte, headers ...contactsync.Header) contactsync.Record {
	topic.t.Helper()
	return topic.produceAt(time.Time{}, partition, key, value, headers...)
}

// produceAt produces a record of some time; the zero time is now.
func (topic *testTopic) produceAt(at time.Time, partition int32, key string, value []byte, headers ...contactsync.Header) contactsync.Record {
	topic.t.Helper()
	r := &kgo.Record{Topic: "contacts", Partition: partition, Key: []byte(key), Value: value, Timestamp: at}
	for _, h := range headers {
		r.Headers = append(r.Headers, kgo.RecordHeader(h))
	}
	if err := topic.client.ProduceSync(topic.t.Context(), r).FirstErr(); err != nil {
		topic.t.Fatal(err)
	}
	return contactsync.Record{
		Position: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: r.Topic, Partition: r.Partition}, Offset: r.Offset},
		Time:     r.Timestamp, Key: r.Key, Value: r.Value, Headers: headers,
	}
}

// event produces an update of a contact.
func (topic *testTopic) event(id string, seq int, more string) contactsync.Record {
	topic.t.Helper()
	return topic.produce(int32(len(id)%2), id, body(id, seq, more))
}

// events produces an update of each contact, in one request a partition.
func (topic *testTopic) events(n, seq int) []contactsync.Record {
	topic.t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		id := fmt.Sprintf("c%04d", i)
		records[i] = &kgo.Record{Topic: "contacts", Partition: int32(i % 2), Key: []byte(id), Value: body(id, seq, "")}
	}
	if err := topic.client.ProduceSync(topic.t.Context(), records...).FirstErr(); err != nil {
		topic.t.Fatal(err)
	}
	all := make([]contactsync.Record, n)
	for i, r := range records {
		all[i] = contactsync.Record{
			Position: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: r.Topic, Partition: r.Partition}, Offset: r.Offset},
			Time:     r.Timestamp, Key: r.Key, Value: r.Value,
		}
	}
	return all
}

// deadLetter is a dead letter of a record.
func deadLetter(rec contactsync.Record) *deadletter.Entry {
	return &deadletter.Entry{DeadLetter: contactsync.DeadLetter{Record: rec, Stream: "st-1", Contact: string(rec.Key), Reason: contactsync.ReasonRejected}}
}

// kept returns the headers of a replay that its record keeps as a dead letter.
func kept(r event.Replay) []contactsync.Header {
	return slices.DeleteFunc(r.Headers(), func(h contactsync.Header) bool { return !event.KeepsWithRecord(h.Key) })
}

// cut makes a dead letter one whose record was too large for its topic.
func cut(e *deadletter.Entry) *deadletter.Entry {
	hash := sha256.Sum256(e.Record.Value)
	e.Envelope = &deadletter.Envelope{Truncated: true, SHA256: hex.EncodeToString(hash[:]), Size: len(e.Record.Value)}
	e.Record.Value = nil
	return e
}

func deadLetters(records []contactsync.Record) []*deadletter.Entry {
	all := make([]*deadletter.Entry, len(records))
	for i, r := range records {
		all[i] = deadLetter(r)
	}
	return all
}

// run returns a Replayer and its outcomes by the records' positions.
func (topic *testTopic) run(o replay.Options, onOutcome func(replay.Outcome)) (*replay.Replayer, map[contactsync.Position]replay.Outcome) {
	topic.t.Helper()
	decoder, err := event.NewDecoder(event.DefaultConfig(), nil)
	if err != nil {
		topic.t.Fatal(err)
	}
	if o.MaxReplays == 0 {
		o.MaxReplays = 3
	}
	outcomes := map[contactsync.Position]replay.Outcome{}
	return replay.New(replay.Deps{
		Log:    kafka.NewOn(topic.transport, topic.broker.Addrs(), 5*time.Second, slog.New(slog.DiscardHandler)),
		Topics: topic.topics, Decoder: decoder, Logger: slog.New(slog.DiscardHandler),
		Route: func(stream, account string) (string, bool) { return cmp.Or(account, "acme"), stream == "st-1" },
		OnOutcome: func(o replay.Outcome) {
			if other, ok := outcomes[o.Entry.Record.Position]; ok {
				topic.t.Errorf("dead letter %v ends twice: %s and %s", o.Entry.Record.Position, other.Result, o.Result)
			}
			outcomes[o.Entry.Record.Position] = o
			if onOutcome != nil {
				onOutcome(o)
			}
		},
	}, o), outcomes
}

// removeBefore removes the records of a partition below an offset, as retention does.
func (topic *testTopic) removeBefore(partition int32, offset int64) {
	topic.t.Helper()
	below := kadm.Offsets{}
	below.AddOffset("contacts", partition, offset, -1)
	if _, err := kadm.NewClient(topic.client).DeleteRecords(topic.t.Context(), below); err != nil {
		topic.t.Fatal(err)
	}
}

// replays reads the source topic and returns the replays in it, by what they are of.
func (topic *testTopic) replays() map[contactsync.Position][]contactsync.Record {
	topic.t.Helper()
	all, err := broker.ReadAll(topic.t.Context(), topic.broker.Addrs(), "contacts")
	if err != nil {
		topic.t.Fatal(err)
	}
	found := map[contactsync.Position][]contactsync.Record{}
	for _, r := range all {
		rec := contactsync.Record{
			Position: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: r.Topic, Partition: r.Partition}, Offset: r.Offset},
			Key:      r.Key, Value: r.Value, Time: r.Timestamp,
		}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, contactsync.Header(h))
		}
		re, err := event.ReadReplay(rec.Headers)
		if err != nil {
			topic.t.Fatal(err)
		}
		if re != nil {
			found[re.Of] = append(found[re.Of], rec)
		}
	}
	return found
}

// once checks that each of the records was replayed exactly once, and no other.
func (topic *testTopic) once(records []contactsync.Record) {
	topic.t.Helper()
	found := topic.replays()
	for _, r := range records {
		if n := len(found[r.Position]); n != 1 {
			topic.t.Errorf("%v was replayed %d times, want once", r.Position, n)
		}
		delete(found, r.Position)
	}
	for _, at := range slices.Collect(maps.Keys(found)) {
		topic.t.Errorf("%v was replayed and must not be", at)
	}
}
