package consumer_test

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
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
		f.feed(50_000, func(p int32, _ int64) bool { return p == 0 })
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
		if p.State != consumer.FeedHalted || p.Committed != 20 || p.Next != 20 || p.Lag != 49_980 || !strings.Contains(p.Reason, "20 of 20 events cannot be read, the first at offset 0: invalid: ") {
			t.Errorf("halted: %+v", p)
		}
		if s := p.Feed; s == nil || s.From != 20 || s.First != "contacts/0@0" || s.LooksLike != "a Debezium envelope (before, after, op)" || s.Ahead != 1000 || s.AheadUnread != 100 {
			t.Errorf("feed: %+v", p.Feed)
		}
		if other.State != consumer.Reading || other.Committed != 50_000 {
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
		if p := f.consumer.Partitions()[0]; p.Next != 20 || furthest > 50_000 {
			t.Errorf("later: %+v, fetched at %d", p, furthest)
		}
		f.cut(50_100)
		kafka.Sleep(t.Context(), 2*time.Second)
		if got := f.consumer.Partitions()[0].Lag; got != 50_080 {
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

// Each of the owners has 20 dead letters more unless it knows what was found and decided.
func TestConsumer_TheNextOwnerKnowsOfAFeed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		policy  string
		decide  func(f *fakes) error // before the first owner ends
		before  string               // the first owner's policy, where it is not halt
		offset  int64                // that an operator sets meanwhile; 0 for none
		want    int64
		letters int
		state   consumer.State
		first   string // that cannot be read, where it is halted
	}{
		{"it waits", consumer.Halt, nil, "", 0, 20, 20, consumer.FeedHalted, "contacts/0@20"},
		{"another offset is set", consumer.Halt, nil, "", 2000, 2020, 40, consumer.FeedHalted, "contacts/0@2000"},
		{"the policy is skip now", consumer.Skip, nil, "", 0, 3000, 3000, consumer.FeedSkipped, ""},
		{"nobody looks now", consumer.Off, nil, "", 0, 3000, 3000, consumer.Reading, ""},
		{"some pass", consumer.Halt, func(f *fakes) error { return f.consumer.ResumeFeed(partition0, 2000, false) }, "", 0, 2021, 2021, consumer.FeedHalted, "contacts/0@1921"},
		{"all pass until they can be read", consumer.Halt, func(f *fakes) error { return f.consumer.ResumeFeed(partition0, 0, true) }, "", 0, 3000, 3000, consumer.FeedSkipped, ""},
		{"the policy was skip", consumer.Halt, nil, consumer.Skip, 0, 1020, 1020, consumer.FeedHalted, "contacts/0@1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakesWith(t, func(c *consumer.Config) { c.OnUnreadableFeed = cmp.Or(test.before, consumer.Halt) })
				f.feed(1000, allBad)
				end := f.generations(t)
				f.first.Offset = 0
				next := f.next
				f.next = func(n int) (*kafka.Generation, error) {
					gen, err := next(n)
					if n == 2 {
						f.consumer.SetFeedPolicy(test.policy)
						gen.Owned[0].Offset = max(gen.Owned[0].Offset, test.offset)
					}
					return gen, err
				}
				stop := f.run(t)
				kafka.Sleep(t.Context(), time.Minute)
				if test.decide != nil {
					if err := test.decide(f); err != nil {
						t.Fatal(err)
					}
					kafka.Sleep(t.Context(), time.Minute)
				}
				f.cut(3000)
				end(kafka.ErrRebalance)
				kafka.Sleep(t.Context(), 5*time.Minute)
				p := f.consumer.Partitions()[0]
				if p.State != test.state || p.Committed != test.want || f.letters(0) != test.letters {
					t.Errorf("%+v with %d dead letters, want %d and %d", p, f.letters(0), test.want, test.letters)
				}
				if p.State == consumer.FeedHalted && (p.Feed.First != test.first || p.Reason == "") {
					t.Errorf("it does not say why: %+v", p.Feed)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What had been handed over before the halt is not ended yet when the next owner comes.
func TestConsumer_TheNextOwnerReadsUpToWhereAFeedHalted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.feed(1000, allBad)
		f.keep = 5
		end := f.generations(t)
		f.first.Offset = 0
		next := f.next
		f.next = func(n int) (*kafka.Generation, error) {
			if n == 2 {
				f.keep = -1
			}
			return next(n)
		}
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		n := len(f.befores())
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.FeedHalted || p.Committed != 20 {
			t.Errorf("%+v", p)
		}
		after := f.befores()[n:]
		if len(after) != 15 || slices.Index(after, contactsync.Open) != 0 || slices.Index(after[1:], contactsync.Open) >= 0 {
			t.Errorf("the next owner is handed %v, want 5 to 19, of which the first is open", after)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// While the partition waits, the log is cut off behind what was looked at.
func TestConsumer_AHaltedFeedWhoseLogIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.feed(600, allBad)
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), time.Minute)
		f.cut(30)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.FeedHalted || p.Lag != 10 || p.Feed.Ahead != 10 {
			t.Errorf("%+v, %+v", p, p.Feed)
		}
		f.turn(badBelow(0))
		f.cut(200)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.Reading || p.Committed != 200 {
			t.Errorf("with good events: %+v", p)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A batch behind the offset at which the partition waits is another operator's decision, for later.
func TestConsumer_AHaltedFeedBeforeABatchThatCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.feed(40, allBad)
		f.batches = func(offset int64) []byte {
			b := func(first, last int64) []byte {
				var all []kmsg.Record
				for o := first; o <= last; o++ {
					all = append(all, kmsg.Record{OffsetDelta: int32(o - first), Value: []byte(badEvent)})
				}
				return kafkatest.Batch(kmsg.RecordBatch{FirstOffset: first}, all...)
			}
			switch {
			case offset < 25:
				return b(offset, 24)
			case offset >= 40:
				return nil
			case offset >= 27:
				return b(offset, 39)
			}
			damaged := b(25, 26)
			damaged[len(damaged)-1] ^= 0xff
			return append(damaged, b(27, 39)...)
		}
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.FeedHalted || p.Unreadable != nil || p.Next != 20 || f.consumer.NotReady() == "" {
			t.Errorf("%+v", p)
		}
		if n := f.gauge("contactsync_consumer_halted_partitions"); n != 1 {
			t.Errorf("%v partitions are halted", n)
		}
		if err := f.consumer.ResumeFeed(partition0, 20, false); err != nil {
			t.Fatal(err)
		}
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.Halted || p.Unreadable == nil || p.Unreadable.First != 25 || f.letters(0) != 25 {
			t.Errorf("behind it: %+v", p)
		}
		if err := f.consumer.SetAside(partition0, 25, 26); err != nil {
			t.Error(err)
		}
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.Reading || p.Committed != 40 {
			t.Errorf("at the end: %+v", p)
		}
		if n := f.gauge("contactsync_consumer_halted_partitions"); n != 0 {
			t.Errorf("%v partitions are halted at the end", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Each event is a transaction of its own: its marker takes an offset.
func TestConsumer_AFeedOfTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.feed(0, badBelow(100))
		f.batches = func(offset int64) (all []byte) {
			for o := offset; o < min(offset+50, f.size.Load()); o++ {
				b, r := kmsg.RecordBatch{FirstOffset: o, Attributes: 1 << 4, ProducerID: 7}, kmsg.Record{Value: []byte(f.values(0, o))}
				if o%2 == 1 {
					b.Attributes |= 1 << 5
					r = kmsg.Record{Key: []byte{0, 0, 0, 1}, Value: make([]byte, 6)} // commit
				}
				all = append(all, kafkatest.Batch(b, r)...)
			}
			return all
		}
		f.cut(200)
		end := f.generations(t)
		f.first.Offset = 0
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.FeedHalted || p.Committed != 39 || p.Lag != 161 || f.letters(0) != 20 {
			t.Errorf("%+v, %d dead letters", p, f.letters(0))
		}
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.FeedHalted || p.Feed.Ahead != 80 || f.letters(0) != 20 {
			t.Errorf("the next owner: %+v, %+v", p, p.Feed)
		}
		f.cut(280) // 90 good events
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.Reading || p.Committed != 280 || p.Lag != 0 || f.letters(0) != 50 {
			t.Errorf("at the end: %+v, %d dead letters", p, f.letters(0))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Nothing lies behind the offset at which the partition waits, so nothing ends by which
// the committed offset would change.
func TestConsumer_KeepsADecisionAboutAFeedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.feed(20, allBad)
		end := f.generations(t)
		f.first.Offset = 0
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		if err := f.consumer.ResumeFeed(partition0, 0, true); err != nil {
			t.Fatal(err)
		}
		kafka.Sleep(t.Context(), 10*time.Second)
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), time.Minute)
		f.cut(60)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.FeedSkipped || p.Committed != 60 {
			t.Errorf("the next owner: %+v", p)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// The log ends before the committed offset, and is read from its start.
func TestConsumer_ForgetsAHaltedFeedOfAnotherLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakesWith(t, func(c *consumer.Config) { c.OnOffsetLoss = consumer.Skip })
		f.feed(1000, allBad)
		end := f.generations(t)
		f.first.Offset = 0
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		f.cut(10)
		f.turn(badBelow(0))
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), time.Minute)
		f.cut(60)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.Reading || p.Committed != 60 {
			t.Errorf("%+v", p)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
