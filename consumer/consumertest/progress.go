package consumertest

import (
	"hash/crc32"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
)

// keepsProgress has one member end a part of its events, without any pattern, and looks
// at what the next one takes for ended.
func keepsProgress(t *testing.T, brokers []string, topic bool) {
	const n = 40_000
	g := newGroup(t, brokers, 1, nil)
	if topic {
		g.cfg.ProgressTopic = g.topic + "-progress"
		g.cfg.RebalanceTimeout, g.cfg.DrainTimeout = time.Minute, 24*time.Second // of which the last record may take an eighth, on a busy machine too
		compact := "compact"
		if _, err := g.admin.CreateTopic(t.Context(), 2, -1, map[string]*string{"cleanup.policy": &compact}, g.cfg.ProgressTopic); err != nil {
			t.Fatal(err)
		}
	}
	stays := func(r contactsync.Record) bool {
		return r.Offset == 0 || crc32.ChecksumIEEE([]byte(strconv.FormatInt(r.Offset, 10)))%3 == 0
	}
	g.produce(0, n)
	first := g.join(func(_ *consumer.Config, k *sink) { k.keep = stays })
	g.until("all records", func() bool { return len(first.seen()) == n })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	again := g.join(nil)
	g.until("all records again", func() bool { return len(again.seen()) == n })
	var ended, wrong int
	for i, r := range again.seen() {
		switch is := again.before[i] != contactsync.Open; {
		case is && stays(r):
			t.Fatalf("offset %d is open, and taken for ended", r.Offset)
		case is:
			ended++
		case !stays(r):
			wrong++
		}
	}
	cut := testutil.ToFloat64(first.m.ProgressCut)
	t.Logf("%d of %d ended events are known, %v commits were cut", ended, ended+wrong, cut)
	if topic && wrong > 0 { // a commit on the way may be cut, where the topic is not there yet
		t.Errorf("%d ended events are done again, %v commits were cut", wrong, cut)
	}
	if !topic && (wrong == 0 || cut == 0 || ended == 0) {
		t.Errorf("%d ended events are done again and %d are not, %v commits were cut: this shows nothing", wrong, ended, cut)
	}
	for _, reason := range []string{"damaged", "other_log", "replaced"} {
		if got := testutil.ToFloat64(again.m.ProgressIgnored.WithLabelValues(reason)); got != 0 {
			t.Errorf("%s: ignored %v times", reason, got)
		}
	}
}
