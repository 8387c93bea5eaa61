package consumer_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
)

const (
	goodEvent = `{"streamId":"st-1","contact":{"id":"a"},"op":"delete"}`
	badEvent  = `{"before":null,"after":{"id":1},"op":"c"}`
)

// feed gives each partition a log of n events, of which those that bad names cannot be read.
func (f *fakes) feed(n int64, bad func(partition int32, offset int64) bool) {
	f.cut(n)
	f.stable, f.end = 1<<40, f.size.Load
	f.turn(bad)
}

// turn changes which events cannot be read.
func (f *fakes) turn(bad func(partition int32, offset int64) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values = func(p int32, o int64) string {
		if bad(p, o) {
			return badEvent
		}
		return goodEvent
	}
}

func allBad(int32, int64) bool { return true }

func badBelow(n int64) func(int32, int64) bool { return func(_ int32, o int64) bool { return o < n } }

// letters is how many dead letters a partition has.
func (f *fakes) letters(partition int32) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.broken {
		if p.Partition == partition {
			n++
		}
	}
	return n
}

func (f *fakes) errorsLogged() int { return bytes.Count(f.log.Bytes(), []byte("level=ERROR")) }

func TestConsumer_HaltsAFeedThatCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.feed(5000, func(p int32, _ int64) bool { return p == 0 })
		gen, end := generation(1, 2)
		gen.Owned[0].Offset, gen.Owned[1].Offset = 0, 0
		f.once(gen)
		stop := f.run(t)
		kafka.Sleep(t.Context(), 30*time.Second)
		if n := f.caughtUpCount(); n != 2 {
			t.Errorf("%d partitions are caught up: a halted one holds up the others", n)
		}
		all := f.consumer.Partitions()
		p, other := all[0], all[1]
		if p.State != consumer.FeedHalted || p.Committed != 20 || p.Next != 20 || p.Lag != 4980 || !strings.Contains(p.Reason, "20 of 20 events cannot be read, the first at offset 0: invalid: ") {
			t.Errorf("halted: %+v", p)
		}
		if s := p.Feed; s == nil || s.From != 20 || s.First != "contacts/0@0" || s.LooksLike != "a Debezium envelope (before, after, op)" || s.Ahead != 1000 || s.AheadUnread != 100 {
			t.Errorf("feed: %+v", p.Feed)
		}
		if other.State != consumer.Reading || other.Committed != 5000 {
			t.Errorf("the other partition: %+v", other)
		}
		if f.consumer.NotReady() != "" {
			t.Error("not ready although a partition is read")
		}
		if n := f.letters(0); n != 20 || f.letters(1) != 0 {
			t.Errorf("%d dead letters, want 20", n)
		}
		kafka.Sleep(t.Context(), 5*time.Minute)
		f.mu.Lock()
		furthest := f.furthest
		f.mu.Unlock()
		if p := f.consumer.Partitions()[0]; p.Next != 20 || furthest > 5000 {
			t.Errorf("later: %+v, fetched at %d", p, furthest)
		}
		f.cut(5100)
		kafka.Sleep(t.Context(), 2*time.Second)
		if got := f.consumer.Partitions()[0].Lag; got != 5080 {
			t.Errorf("the lag is %d when the log has grown", got)
		}
		f.did()
		end(kafka.ErrRebalance)
		synctest.Wait()
		if did := f.did(); !strings.HasPrefix(did, "release, next") {
			t.Errorf("a drain did %s", did)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		log := f.log.String()
		if f.errorsLogged() != 1 || !strings.Contains(log, "contactsync feed resume contacts/0,") || !strings.Contains(log, "first=contacts/0@0") || !strings.Contains(log, "ExtractNewRecordState") {
			t.Errorf("the log has %d errors:\n%s", f.errorsLogged(), log)
		}
		if n := f.value("contactsync_consumer_unreadable_feeds_total", "halt"); n != 1 {
			t.Errorf("%v halts are counted", n)
		}
		if n := f.value("contactsync_consumer_halted_partitions", ""); n != 0 {
			t.Errorf("%v partitions are halted when none is owned", n)
		}
	})
}

func TestConsumer_AFeedThatCannotBeReadByPolicy(t *testing.T) {
	t.Parallel()
	for policy, state := range map[string]consumer.State{consumer.Skip: consumer.FeedSkipped, consumer.Off: consumer.Reading} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakesWith(t, func(c *consumer.Config) { c.OnUnreadableFeed = policy })
				f.feed(500, allBad)
				stop, _ := f.runOnce(t, 0)
				kafka.Sleep(t.Context(), time.Minute)
				if p := f.consumer.Partitions()[0]; p.State != state || p.Committed != 500 || f.letters(0) != 500 || f.consumer.NotReady() != "" {
					t.Errorf("%+v, %d dead letters", p, f.letters(0))
				}
				f.turn(badBelow(0))
				f.cut(600)
				kafka.Sleep(t.Context(), time.Minute)
				if p := f.consumer.Partitions()[0]; p.State != consumer.Reading || p.Feed != nil || p.Committed != 600 {
					t.Errorf("with good events: %+v", p)
				}
				f.turn(allBad)
				f.cut(800)
				kafka.Sleep(t.Context(), time.Minute)
				if err := stop(); err != nil {
					t.Error(err)
				}
				want := 0
				if policy == consumer.Skip {
					want = 2
				}
				if n := f.value("contactsync_consumer_unreadable_feeds_total", ""); f.errorsLogged() != want || n != float64(want) {
					t.Errorf("%d errors are logged and %v times counted, want %d", f.errorsLogged(), n, want)
				}
			})
		})
	}
}

func TestConsumer_AFeedThatCanBeReadAgainGoesOnByItself(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		bad, size int64
		halted    bool
	}{
		{"behind a short stretch", 300, 2000, false},
		{"the last that is looked at", 930, 1020, false},
		{"further away than is looked at", 931, 5000, true},
		{"too few good ones", 300, 389, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				f.feed(test.size, badBelow(test.bad))
				stop, _ := f.runOnce(t, 0)
				kafka.Sleep(t.Context(), 5*time.Minute)
				p := f.consumer.Partitions()[0]
				want, letters := test.size, int(test.bad)
				if test.halted {
					want, letters = 20, 20
				}
				if (p.State == consumer.FeedHalted) != test.halted || p.Committed != want || f.letters(0) != letters {
					t.Errorf("%+v with %d dead letters, want %d committed and %d dead letters", p, f.letters(0), want, letters)
				}
				if n := len(f.befores()); int64(n) != want {
					t.Errorf("%d events are handed over, want %d", n, want)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The log grows while the partition waits.
func TestConsumer_LooksOnWhileAPartitionWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.feed(50, badBelow(50))
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), time.Minute)
		f.cut(139)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.FeedHalted {
			t.Errorf("with 89 good events: %+v", p)
		}
		f.cut(140)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.Reading || p.Committed != 140 || f.letters(0) != 50 {
			t.Errorf("with 90: %+v, %d dead letters", p, f.letters(0))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestConsumer_ResumesAFeedForAnOperator(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		records   int64
		readable  bool
		want      int64 // committed
		letters   int
		state     consumer.State
		corrected bool // the settings, so to say
	}{
		{"another try fails", 0, false, 40, 40, consumer.FeedHalted, false},
		{"another try when it is corrected", 0, false, 1500, 20, consumer.Reading, true},
		{"a number of records", 1000, false, 1021, 1021, consumer.FeedHalted, false}, // and the one that halts it again
		{"all records", 5000, false, 1500, 1500, consumer.FeedSkipped, false},
		{"until they can be read", 0, true, 1500, 1500, consumer.FeedSkipped, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				f.feed(1500, allBad)
				stop, _ := f.runOnce(t, 0)
				kafka.Sleep(t.Context(), time.Minute)
				if err := f.consumer.ResumeFeed(contactsync.TopicPartition{Topic: "contacts", Partition: 7}, test.records, test.readable); err == nil {
					t.Error("taken for a partition that is not owned")
				}
				if test.corrected {
					f.turn(badBelow(0))
				}
				if err := f.consumer.ResumeFeed(partition0, -1, false); err == nil {
					t.Error("taken for fewer records than none")
				}
				if err := f.consumer.ResumeFeed(partition0, test.records, test.readable); err != nil {
					t.Fatal(err)
				}
				kafka.Sleep(t.Context(), time.Minute)
				p := f.consumer.Partitions()[0]
				if p.State != test.state || p.Committed != test.want || f.letters(0) != test.letters {
					t.Errorf("%+v with %d dead letters, want %d and %d", p, f.letters(0), test.want, test.letters)
				}
				if err := f.consumer.ResumeFeed(partition0, 1, false); (err == nil) != (test.state == consumer.FeedHalted) {
					t.Errorf("once more: %v", err)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
