package deadletter_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/metrics"
)

func TestSelection_Match(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	entry := &deadletter.Entry{
		DeadLetter: contactsync.DeadLetter{
			Record: contactsync.Record{Position: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t"}, Offset: 5}},
			Stream: "st-1", Contact: "c1", Reason: contactsync.ReasonRejected, Last: at,
		},
		Written: at.Add(time.Hour),
	}
	undated := &deadletter.Entry{Written: at}
	for _, c := range []struct {
		name  string
		sel   deadletter.Selection
		entry *deadletter.Entry
		want  bool
	}{
		{"all", deadletter.Selection{}, entry, true},
		{"stream", deadletter.Selection{Streams: []string{"st-1"}}, entry, true},
		{"one of two streams", deadletter.Selection{Streams: []string{"st-2", "st-1"}}, entry, true},
		{"other stream", deadletter.Selection{Streams: []string{"st-2"}}, entry, false},
		{"contact", deadletter.Selection{Contacts: []string{"c1"}}, entry, true},
		{"contact in other case", deadletter.Selection{Contacts: []string{"6964AF60450340957C61A2B3"}}, &deadletter.Entry{DeadLetter: contactsync.DeadLetter{Contact: "6964af60450340957c61a2b3"}}, true},
		{"other contact", deadletter.Selection{Contacts: []string{"c"}}, entry, false},
		{"one of two reasons", deadletter.Selection{Reasons: []contactsync.Reason{"invalid", "rejected"}}, entry, true},
		{"other reason", deadletter.Selection{Reasons: []contactsync.Reason{"invalid"}}, entry, false},
		{"since", deadletter.Selection{Since: at}, entry, true},
		{"since later", deadletter.Selection{Since: at.Add(1)}, entry, false},
		{"until", deadletter.Selection{Until: at}, entry, false},
		{"until later", deadletter.Selection{Until: at.Add(1)}, entry, true},
		{"undated: since", deadletter.Selection{Since: at}, undated, true},
		{"undated: since later", deadletter.Selection{Since: at.Add(1)}, undated, false},
		{"record", deadletter.Selection{Record: entry.Record.Position}, entry, true},
		{"other record", deadletter.Selection{Record: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t"}, Offset: 6}}, entry, false},
		{"one of two conditions", deadletter.Selection{Streams: []string{"st-1"}, Contacts: []string{"c2"}}, entry, false},
	} {
		if got := c.sel.Match(c.entry); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	b, err := broker.Start(broker.Options{Topics: map[string]int32{"dead": 3}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	conn := kafka.DefaultConfig()
	conn.Brokers = b.Addrs()
	client, err := kafka.New(conn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cfg := deadletter.DefaultConfig()
	cfg.Topic = "dead"
	w := deadletter.New(cfg, deadletter.Deps{
		Kafka: client, Log: slog.New(slog.DiscardHandler), Metrics: &metrics.New(prometheus.NewRegistry()).DeadLetter,
	})
	t.Cleanup(func() { _ = w.Close() })
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	deadLetter := func(offset int64, reason contactsync.Reason) contactsync.DeadLetter {
		return contactsync.DeadLetter{
			Record: contactsync.Record{
				Position: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 1}, Offset: offset},
				Key:      fmt.Append(nil, offset), Value: []byte("{}"),
			},
			Stream: "st-1", Reason: reason, Last: at.Add(time.Duration(offset) * time.Second),
		}
	}
	var deadLetters []contactsync.DeadLetter
	for i := range 50 {
		deadLetters = append(deadLetters, deadLetter(int64(50-i), contactsync.ReasonRejected))
	}
	publish := func(deadLetters ...contactsync.DeadLetter) {
		t.Helper()
		if _, err := w.Publish(t.Context(), deadLetters); err != nil {
			t.Fatal(err)
		}
	}
	publish(deadLetters...)
	publish(deadLetter(7, contactsync.ReasonUnresolved), deadLetter(8, contactsync.ReasonRejected)) // after a crash: written again
	other, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	for _, r := range []*kgo.Record{
		{Topic: "dead", Value: []byte("somebody else's")},
		{Topic: "dead", Headers: []kgo.RecordHeader{{Key: "contactsync-form", Value: []byte("99")}}},
		{Topic: "dead", Headers: []kgo.RecordHeader{{Key: "contactsync-form", Value: []byte("1")}}}, // of where, it does not say
		{Topic: "dead", Headers: []kgo.RecordHeader{{Key: "contactsync-form", Value: []byte("1")}, {Key: "contactsync-positions-left", Value: []byte("many")}}},
	} {
		if err := other.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	all, err := deadletter.Read(t.Context(), client, "dead", deadletter.Selection{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Entries) != 50 || all.Others != 1 || len(all.Problems) != 3 {
		t.Fatalf("%d dead letters, %d others, problems %v: want 50, 1 and three", len(all.Entries), all.Others, all.Problems)
	}
	for i, f := range all.Entries {
		if f.Record.Offset != int64(i+1) || f.Record.Value != nil {
			t.Errorf("dead letter %d is %v with the value %q", i, f.Record, f.Record.Value)
		}
	}
	if f := all.Entries[6]; f.Copies != 2 || f.Reason != contactsync.ReasonUnresolved {
		t.Errorf("of two copies the newest counts: %d copies, reason %s", f.Copies, f.Reason)
	}
	// A clock that went back: within a partition the log says which copy is newer.
	old := &kgo.Record{Topic: "dead", Partition: 2, Timestamp: at.Add(-time.Hour)}
	for name, value := range map[string]string{
		"form": "1", "reason": "bad_request", "topic": "contacts", "partition": "1", "offset": "99", "positions": "contacts/1@99",
	} {
		old.Headers = append(old.Headers, kgo.RecordHeader{Key: "contactsync-" + name, Value: []byte(value)})
	}
	earlier := *old
	earlier.Timestamp = at
	manual, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(manual.Close)
	for i := range earlier.Headers {
		if h := &earlier.Headers[i]; h.Key == "contactsync-reason" {
			earlier.Headers = append([]kgo.RecordHeader(nil), earlier.Headers...)
			earlier.Headers[i].Value = []byte("rejected")
		}
	}
	elsewhere := earlier // an older copy in another partition
	elsewhere.Partition, elsewhere.Timestamp = 0, at.Add(-2*time.Hour)
	for _, r := range []*kgo.Record{&earlier, old, &elsewhere} {
		if err := manual.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	one, err := deadletter.Read(t.Context(), client, "dead", deadletter.Selection{Reasons: []contactsync.Reason{contactsync.ReasonBadRequest}}, false)
	if err != nil || len(one.Entries) != 1 || one.Entries[0].Copies != 3 {
		t.Errorf("%+v, %v: want the copy that was written last", one.Entries, err)
	}
	some, err := deadletter.Read(t.Context(), client, "dead", deadletter.Selection{Reasons: []contactsync.Reason{contactsync.ReasonRejected}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(some.Entries) != 49 || string(some.Entries[0].Record.Value) != "{}" {
		t.Errorf("%d dead letters, want those whose newest copy is rejected: 49", len(some.Entries))
	}
}
