package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/lab/feed"
)

// debezium is an event as a connector writes it that nobody has told to unwrap it.
const debezium = `{"schema":{"type":"struct"},"payload":{"before":null,"after":{"id":%d,"stream_id":"st-1","first_name":"john"},"source":{"connector":"postgresql","lsn":%d},"op":"c","ts_ms":1768211704840}}`

// TestService_AFeedOfAnotherFormatHaltsItsPartition has one partition of three filled by
// somebody else: it waits after 20 dead letters, over a restart too, until an operator
// decides. Nothing of it is lost, and nobody else is harmed.
func TestService_AFeedOfAnotherFormatHaltsItsPartition(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const foreign = 20_000
	var all []*kgo.Record
	for i := range foreign {
		all = append(all, &kgo.Record{Topic: l.Topic, Value: fmt.Appendf(nil, debezium, i, 100+i)})
	}
	for p := range int32(3) { // in the first partition behind the others
		for i := range 200 {
			c := feed.Contact{Stream: "st-1", ID: fmt.Sprintf("c%d-%d", p, i)}
			all = append(all, &kgo.Record{Topic: l.Topic, Partition: p, Value: feed.NewUpdate(c, 0, 1, feed.Update).Value})
		}
	}
	if err := client.ProduceSync(t.Context(), all...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	const letters = "deadletter_published_total{invalid}"
	replica := l.start()
	l.until("the halt to show", func() bool { return replica.Series().Value("consumer_partition_state{feed_halted}") == 1 })
	l.until("the other partitions", func() bool { return l.uncommitted() == foreign-20+200 })
	page := l.get(replica.Addr, "/status")
	for _, want := range []string{`"state": "feed_halted"`, `"first": "contacts/0@0"`, `"looks_like": "a Debezium envelope (before, after, op)"`, `"from": 20`} {
		if !strings.Contains(page, want) {
			t.Errorf("/status lacks %s:\n%s", want, page)
		}
	}
	if got := l.get(replica.Addr, "/readyz"); got != "ok\n" {
		t.Errorf("/readyz says %q", got)
	}
	if s := replica.Series(); s.Value(letters) != 20 || s.Value("consumer_halted_partitions") != 1 || s.Value("consumer_unreadable_feeds_total{halt}") != 1 {
		t.Errorf("%v dead letters, %v halted", s.Value(letters), s.Value("consumer_halted_partitions"))
	}
	if !l.logged("level=ERROR", "first=contacts/0@0", "looks_like=\"a Debezium envelope", "contactsync feed resume contacts/0") {
		t.Error("the log does not say what to do")
	}
	l.stop()
	replica = l.start()
	l.until("the halt to show again", func() bool { return l.logged("level=ERROR", "before this replica had it", "first=contacts/0@20") })
	if n := l.uncommitted(); replica.Series().Value(letters) != 0 || n != foreign-20+200 {
		t.Errorf("%v dead letters more after a restart, %d events are not committed", replica.Series().Value(letters), n)
	}
	res, err := http.Post("http://"+replica.Addr+"/feed/resume?topic="+l.Topic+"&partition=0&records=0&until_readable=true", "", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Fatal(res.Status)
	}
	l.drain()
	l.until("the state", func() bool { return replica.Series().Value("consumer_partition_state{reading}") == 3 })
	if n := replica.Series().Value(letters); n != foreign-20 {
		t.Errorf("%v dead letters more, want %d", n, foreign-20)
	}
	if got := l.api.State()["st-1"]; len(got) != 600 {
		t.Errorf("the API has %d contacts, want those of all partitions", len(got))
	}
}
