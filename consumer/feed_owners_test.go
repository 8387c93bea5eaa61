package consumer_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
)

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
				end(kafka.ErrRebalance)
				synctest.Wait()
				f.cut(3000)
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

// While the partition waits, its log is cut off below that and grows again.
func TestConsumer_AHaltedFeedWhoseLogIsAnotherOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakesWith(t, func(c *consumer.Config) { c.OnOffsetLoss = consumer.Skip })
		f.feed(300, allBad)
		f.generations(t)
		f.first.Offset = 0
		log := f.regrows()
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.FeedHalted || p.Next != 20 {
			t.Fatalf("%+v", p)
		}
		log.cut(f, 10, 400)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.State != consumer.FeedHalted || p.Committed != 30 || p.Feed.First != "contacts/0@10" {
			t.Errorf("want 20 events of the new log to be read from offset 10 on: %+v, %+v", p, p.Feed)
		}
		if n := f.value("contactsync_consumer_offsets_lost_total", "beyond_end"); n != 10 {
			t.Errorf("%v offsets are counted as lost, want 10", n)
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

// Feeds turn bad and good again, owners come and go, and operators decide at random: each
// event is handed over once, in order, and none that waits is committed.
func TestConsumer_LosesNothingOfFeedsThatTurn(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				bad := make([]bool, 4000)
				for o, turns := 0, false; o < len(bad); turns = !turns {
					for range 1 + rng.IntN([]int{10, 90, 200, 1200}[rng.IntN(4)]) {
						if o < len(bad) {
							bad[o] = turns != (rng.IntN(15) == 0)
							o++
						}
					}
				}
				f := newFakesWith(t, func(c *consumer.Config) { c.PartitionCheckInterval = time.Second })
				size := int64(1 + rng.IntN(500))
				f.feed(size, func(_ int32, o int64) bool { return bad[o] })
				f.generations(t)
				f.first.Offset = 0
				var end context.CancelCauseFunc
				f.next = func(n int) (*kafka.Generation, error) {
					var gen *kafka.Generation
					gen, end = generation(int32(n), 1)
					gen.Owned[0] = *f.first
					if n > 1 && f.lastCommit().Topic != "" {
						gen.Owned[0] = f.lastCommit()
					}
					gen.Owned[0].TopicID = f.first.TopicID
					return gen, nil
				}
				stop := f.run(t)
				decide := func() {
					_ = f.consumer.ResumeFeed(partition0, []int64{0, 1, 300}[rng.IntN(3)], rng.IntN(4) == 0) // where it halts
				}
				for step := 0; step < 400 && f.lastCommit().Offset < int64(len(bad)); step++ {
					kafka.Sleep(t.Context(), time.Duration(1+rng.IntN(3000))*time.Millisecond)
					synctest.Wait()
					switch rng.IntN(4) {
					case 0:
						size = min(size+int64(rng.IntN(700)), int64(len(bad)))
						f.cut(size)
					case 1:
						end(kafka.ErrRebalance)
					default:
						decide()
					}
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				committed := f.lastCommit().Offset
				if committed < int64(len(bad)) {
					t.Errorf("%d of %d events are committed", committed, len(bad))
				}
				for i, o := range f.opened {
					if o != int64(i) {
						t.Fatalf("event %d was handed over as number %d", o, i)
					}
				}
				if int64(len(f.opened)) != committed {
					t.Errorf("%d events were handed over, and %d committed", len(f.opened), committed)
				}
			})
		})
	}
}
