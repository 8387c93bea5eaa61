package consumertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
)

// Run runs the whole suite on a cluster.
func Run(t *testing.T, brokers []string) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, []string)
	}{
		{"reads everything from the start and commits behind it", readsAll},
		{"commits no further than the first open event", commitsBehind},
		{"what does not fit a commit is done again", func(t *testing.T, b []string) { keepsProgress(t, b, false) }},
		{"what does not fit a commit is kept in the progress topic", func(t *testing.T, b []string) { keepsProgress(t, b, true) }},
		{"keeps key, value, headers and time as they are", keepsRecords},
		{"reads every codec", readsCodecs},
		{"leaves aborted transactions out and passes their markers", leavesAbortedOut},
		{"catch-up ends at the end seen at assignment", catchesUp},
		{"committed offset below the start: skip", func(t *testing.T, b []string) { belowStart(t, b, consumer.Skip) }},
		{"committed offset below the start: halt", func(t *testing.T, b []string) { belowStart(t, b, consumer.Halt) }},
		{"committed offset beyond the end", beyondEnd},
		{"members share the partitions and take over", sharesAndTakesOver},
		{"new partitions are noticed", noticesPartitions},
		{"a blocked sink costs no heartbeat", blockedSink},
		{"a missing topic stands alone and is not created", missingTopic},
		{"without any topic the start ends", noTopic},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, brokers)
		})
	}
}

func readsAll(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 2, nil)
	g.produce(0, 30)
	g.produce(1, 20)
	m := g.join(nil)
	g.until("50 records", func() bool { return len(m.seen()) == 50 })
	for p, n := range map[int32]int64{0: 30, 1: 20} {
		g.until(fmt.Sprint("the commit of partition ", p), func() bool { return g.committed(p) == n })
	}
	g.produce(1, 5)
	g.until("what came later", func() bool { return len(m.seen()) == 55 })
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if got := g.committed(1); got != 25 {
		t.Errorf("after a stop in order %d is committed, want 25", got)
	}
	if len(m.early) > 0 {
		t.Errorf("events of claims that were not assigned: %v", m.early)
	}
	again := g.join(nil)
	g.until("the assignment", func() bool { return again.owned() == 2 })
	g.produce(0, 1)
	g.until("one record", func() bool { return len(again.seen()) > 0 })
	if got := again.seen(); len(got) != 1 || got[0].Offset != 30 {
		t.Errorf("after a restart %d records were read again: %v", len(got)-1, got)
	}
}

func commitsBehind(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 1, nil)
	g.produce(0, 20)
	m := g.join(func(_ *consumer.Config, k *sink) {
		k.keep = func(r contactsync.Record) bool { return r.Offset == 7 || r.Offset == 12 }
	})
	g.until("20 records", func() bool { return len(m.seen()) == 20 })
	g.until("the commit of 7", func() bool { return g.committed(0) == 7 })
	m.endOpen()
	g.until("the commit of all", func() bool { return g.committed(0) == 20 })
}

func keepsRecords(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 1, nil)
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	at := time.UnixMilli(1_767_951_304_863)
	for _, r := range []*kgo.Record{
		{Topic: g.topic, Key: []byte("k"), Value: []byte("v"), Timestamp: at, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}}},
		{Topic: g.topic, Value: []byte("no key")},
		{Topic: g.topic, Key: []byte("tombstone")},
		{Topic: g.topic, Key: []byte{}, Value: []byte{}},
	} {
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	m := g.join(nil)
	g.until("4 records", func() bool { return len(m.seen()) == 4 })
	got := m.seen()
	if r := got[0]; string(r.Key) != "k" || string(r.Value) != "v" || !r.Time.Equal(at) || len(r.Headers) != 2 || r.Headers[0].Key != "h" || string(r.Headers[0].Value) != "1" {
		t.Errorf("first record came as %+v", r)
	}
	if got[1].Key != nil || string(got[1].Value) != "no key" {
		t.Errorf("record without key came as %+v", got[1])
	}
	if got[2].Value != nil {
		t.Errorf("tombstone came with the value %q", got[2].Value)
	}
	if got[3].Value == nil || got[3].Key == nil {
		t.Errorf("empty key and value came as nil: %+v", got[3])
	}
}

func readsCodecs(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 1, nil)
	for _, codec := range []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(), kgo.NoCompression()} {
		g.produce(0, 10, kgo.ProducerBatchCompression(codec))
	}
	m := g.join(nil)
	g.until("50 records", func() bool { return len(m.seen()) == 50 })
	for i, r := range m.seen() {
		if string(r.Value) != fmt.Sprint(i%10) {
			t.Fatalf("record %d came as %q", i, r.Value)
		}
	}
}

func leavesAbortedOut(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 1, nil)
	g.produce(0, 3)
	g.transact(0, 4, kgo.TryAbort)
	g.transact(0, 5, kgo.TryCommit)
	g.produce(0, 2)
	g.transact(0, 4, kgo.TryAbort) // the log ends in a marker
	m := g.join(nil)
	g.until("the 10 records that count", func() bool { return len(m.seen()) >= 10 })
	end := g.end(0)
	g.until("a commit past the last marker", func() bool { return g.committed(0) == end })
	for _, r := range m.seen() {
		if strings.HasPrefix(string(r.Value), "aborted") {
			t.Errorf("an aborted record was delivered: %v %q", r.Position, r.Value)
		}
	}
	if n := len(m.seen()); n != 10 {
		t.Errorf("%d records delivered, want 10", n)
	}
	if got := testutil.ToFloat64(m.m.AbortedRecords); got != 8 {
		t.Errorf("%v aborted records counted, want 8", got)
	}
}

func catchesUp(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 2, nil)
	g.produce(0, 40)
	gate := make(chan struct{})
	m := g.join(func(_ *consumer.Config, k *sink) { k.block = gate })
	g.until("the empty partition to catch up", func() bool { return m.caughtUpCount() == 1 })
	if got := m.caughtUp[0].Partition; got != 1 {
		t.Fatalf("partition %d caught up with nothing read", got)
	}
	close(gate)
	g.until("both to catch up", func() bool { return m.caughtUpCount() == 2 })
	if n := len(m.seen()); n != 40 {
		t.Errorf("caught up with %d of 40 records handed over", n)
	}
}

func belowStart(t *testing.T, brokers []string, policy string) {
	g := newGroup(t, brokers, 1, nil)
	g.produce(0, 30)
	g.setCommitted(0, 5)
	var upto kadm.Offsets
	upto.Add(kadm.Offset{Topic: g.topic, Partition: 0, At: 20})
	if _, err := g.admin.DeleteRecords(t.Context(), upto); err != nil {
		t.Fatal(err)
	}
	m := g.join(func(c *consumer.Config, _ *sink) { c.OnOffsetLoss = policy })
	g.until("the loss to be counted", func() bool { return m.lost("below_log_start") == 15 })
	if policy == consumer.Skip {
		g.until("the records that are left", func() bool { return len(m.seen()) == 10 })
		g.until("the commit", func() bool { return g.committed(0) == 30 })
		return
	}
	g.until("the partition to halt", func() bool { return testutil.ToFloat64(m.m.Halted) == 1 })
	g.until("the others to be let go on", func() bool { return m.caughtUpCount() == 1 })
	if m.c.NotReady() == "" {
		t.Error("ready although a partition is halted")
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if n, at := len(m.seen()), g.committed(0); n != 0 || at != 5 {
		t.Errorf("halted, but %d records were delivered and %d is committed", n, at)
	}
}

func beyondEnd(t *testing.T, brokers []string) {
	if testing.Short() {
		t.Skip("waits ten seconds for a committed offset that may still be reached")
	}
	g := newGroup(t, brokers, 1, nil)
	g.produce(0, 10)
	g.setCommitted(0, 100)
	m := g.join(func(c *consumer.Config, _ *sink) { c.OnOffsetLoss = consumer.Skip })
	g.until("the loss to be counted", func() bool { return m.lost("beyond_end") == 90 })
	g.until("all records from the start", func() bool { return len(m.seen()) == 10 })
	g.until("the commit", func() bool { return g.committed(0) == 10 })
}

func sharesAndTakesOver(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 4, nil)
	one := g.join(nil)
	g.until("all partitions", func() bool { return one.owned() == 4 })
	two := g.join(nil)
	g.until("a fair share", func() bool { return one.owned() == 2 && two.owned() == 2 })
	for p := range int32(4) {
		g.produce(p, 10)
	}
	g.until("40 records", func() bool { return len(one.seen())+len(two.seen()) == 40 })
	if err := one.stop(); err != nil {
		t.Fatal(err)
	}
	if one.released < 2 {
		t.Errorf("partitions were given back %d times, want at the rebalance and at the stop", one.released)
	}
	g.until("the takeover", func() bool { return two.owned() == 4 })
	for p := range int32(4) {
		g.produce(p, 5)
	}
	g.until("60 records", func() bool { return len(one.seen())+len(two.seen()) >= 60 })
	seen := map[string]int{}
	for _, r := range slices.Concat(one.seen(), two.seen()) {
		seen[r.String()]++
	}
	for at, n := range seen {
		if n > 1 {
			t.Errorf("I10: %s was delivered %d times although nothing crashed", at, n)
		}
	}
}

func noticesPartitions(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 1, nil)
	m := g.join(nil)
	g.until("the assignment", func() bool { return m.owned() == 1 })
	if _, err := g.admin.UpdatePartitions(t.Context(), 3, g.topic); err != nil {
		t.Fatal(err)
	}
	g.until("the new partitions", func() bool { return m.owned() == 3 })
	g.produce(2, 5)
	g.until("their records", func() bool { return len(m.seen()) == 5 })
}

func blockedSink(t *testing.T, brokers []string) {
	if testing.Short() {
		t.Skip("waits longer than a session")
	}
	g := newGroup(t, brokers, 1, nil)
	g.produce(0, 5)
	gate := make(chan struct{})
	m := g.join(func(_ *consumer.Config, k *sink) { k.block = gate })
	g.until("the assignment", func() bool { return m.owned() == 1 })
	until := time.NewTimer(g.cfg.SessionTimeout + 2*time.Second)
	defer until.Stop()
	<-until.C
	if got := m.generations(); got != 1 {
		t.Errorf("I9: %v generations while the sink blocked, want 1", got)
	}
	if why := m.c.Stuck(time.Now(), time.Second); why != "" {
		t.Errorf("a full window made the consumer call itself stuck: %s", why)
	}
	close(gate)
	g.until("the records", func() bool { return len(m.seen()) == 5 })
}

func missingTopic(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 1, nil)
	missing := g.topic + "-missing"
	g.produce(0, 5)
	m := g.join(func(c *consumer.Config, _ *sink) { c.Topics = []string{missing, g.topic} })
	g.until("the records of the other topic", func() bool { return len(m.seen()) == 5 })
	g.until("the commit of the other topic", func() bool { return g.committed(0) == 5 })
	if got, why := m.c.MissingTopics(), m.c.NotReady(); !slices.Equal(got, []string{missing}) || why != "" {
		t.Errorf("missing topics %q, not ready: %q", got, why)
	}
	g.isNotCreated(missing)
}

func noTopic(t *testing.T, brokers []string) {
	g := newGroup(t, brokers, 1, nil)
	missing := []string{g.topic + "-missing", g.topic + "-absent"}
	m := g.join(func(c *consumer.Config, _ *sink) { c.Topics = missing })
	<-m.ended
	err := m.stop()
	if !errors.Is(err, kafka.ErrNoTopic) {
		t.Errorf("Run: %v", err)
	}
	for _, topic := range missing {
		if !strings.Contains(fmt.Sprint(err), topic) {
			t.Errorf("Run: %v, want topic %s by name", err, topic)
		}
		g.isNotCreated(topic)
	}
}

func (g *group) isNotCreated(topic string) {
	g.t.Helper()
	topics, err := g.admin.ListTopics(g.t.Context(), topic)
	if err != nil {
		g.t.Fatal(err)
	}
	if topics.Has(topic) {
		g.t.Errorf("topic %s was created", topic)
	}
}
