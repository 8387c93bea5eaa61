package group

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/progress"
	"github.com/contactsync/contactsync/metrics"
)

// world is a cluster, its logs, an API, and the replicas between them.
type world struct {
	*sim
	rand   *rand.Rand
	begin  time.Time
	traced bool
	trace  []string

	logs     []*worldLog // by partition
	contacts []*worldContact
	api      *worldAPI
	replicas []*replica // the latest of each number

	processes []*replica // all that ever were
	owner     map[contactsync.TopicPartition]ownership

	quiet     bool       // all faults are over
	ends      []func()   // of the faults that last
	lossy     int        // one in so many calls to Kafka goes wrong; 0 for none
	mute      *simMember // its heartbeats, or their answers, are lost
	noLetters bool       // dead letters are not taken
	room      int        // bytes that the brokers keep with an offset
	rebalance time.Duration
	slowReads bool
	drain     time.Duration // with the shorter one requests are given up
	static    bool          // the replicas have instance ids
	deletes   bool          // contacts are deleted too
	missing   bool          // the topic is deleted
	snapshots map[worldCommitKey]worldSnapshot
	inherited int // events that had ended under an earlier owner

	metrics *metrics.Batcher
	decoder *event.Decoder
	gate    worldBudget

	produced, duplicates int
	cutsNoticed          int  // logs that were cut off and have grown past where they were read
	writes               bool // once more, when all faults are over
	faults               map[string]int
}

// ownership is who was assigned a partition last.
type ownership struct {
	replica *replica
	number  int32
}

// worldFailure is what a world panics with.
type worldFailure struct{ text string }

func (f worldFailure) Error() string { return f.text }

// Helper, Fatal and Fatalf implement simT.
func (w *world) Helper() {}

func (w *world) Fatal(args ...any) { w.Fatalf("%s", fmt.Sprint(args...)) }

func (w *world) Fatalf(format string, args ...any) { panic(worldFailure{fmt.Sprintf(format, args...)}) }

// fail says which promise is broken.
func (w *world) fail(promise, format string, args ...any) {
	w.logf("%s BROKEN: %s", promise, fmt.Sprintf(format, args...))
	w.Fatalf("%s: %s", promise, fmt.Sprintf(format, args...))
}

func (w *world) logf(format string, args ...any) {
	if w.traced {
		w.trace = append(w.trace, fmt.Sprintf("%9.3f ", w.now.Sub(w.begin).Seconds())+fmt.Sprintf(format, args...))
	}
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.rand.IntN(n) == 0 }

// between draws a duration.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rand.Int64N(int64(most-least)+1))
}

// playWorld plays the world of a seed to its end.
func playWorld(seed uint64, traced bool) (w *world, err error) {
	w = newWorld(seed, traced)
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(worldFailure)
			if !ok {
				panic(r)
			}
			err = f
		}
	}()
	w.play()
	return w, nil
}

// The settings of the replicas, in proportion to the defaults.
const (
	worldSession        = 12 * time.Second
	worldLeaseMargin    = worldSession / 10
	worldDrain          = 4 * time.Second
	worldCatchUp        = 40 * time.Second
	worldCommitInterval = time.Second
	worldAskTimeout     = 5 * time.Second // of a commit
	worldTimeout        = 3 * time.Second // of a request to the API
	worldAmbiguous      = 2 * time.Second
	worldPartitionCheck = 5 * time.Second
	worldEndSettles     = 10 * time.Second // of a log's end
)

func newWorld(seed uint64, traced bool) *world {
	w := &world{
		rand: rand.New(rand.NewPCG(seed, 1)), traced: traced, faults: map[string]int{}, snapshots: map[worldCommitKey]worldSnapshot{},
		owner: map[contactsync.TopicPartition]ownership{}, metrics: &metrics.New(prometheus.NewRegistry()).Batcher,
	}
	w.sim = newSim(w)
	w.begin = w.now
	w.latency = w.between(time.Millisecond, 20*time.Millisecond)
	w.slowReads = w.chance(4)
	w.drain = []time.Duration{worldDrain, worldTimeout / 2}[w.rand.IntN(2)]
	w.rebalance = []time.Duration{2 * worldDrain, 30 * time.Second}[w.rand.IntN(2)]
	w.checkIDs, w.static, w.deletes = w.chance(2), w.chance(3), w.chance(2)
	format := event.DefaultConfig()
	format.Validation = event.Lenient
	w.decoder, _ = event.NewDecoder(format, func(string, string) (string, bool) { return "account", true })
	w.api = &worldAPI{w: w}
	w.gate.every = time.Duration(0)
	if w.chance(2) {
		w.gate.every = w.between(50*time.Millisecond, 500*time.Millisecond)
	}
	w.room = []int{progress.MaxText, progress.MaxText, 120, 0}[w.rand.IntN(4)]
	partitions := 1 + w.rand.IntN(5)
	topic := Topic{TopicID{1}, partitions}
	if w.chance(4) { // brokers before Kafka 2.8 have none
		topic.ID, w.checkIDs = TopicID{}, false
	}
	w.topics = map[string]Topic{"a": topic}
	for range partitions {
		w.addLog()
	}
	streams := 1 + w.rand.IntN(4)
	for i := range 4 + w.rand.IntN(60) {
		w.contacts = append(w.contacts, &worldContact{
			id: fmt.Sprint("c", i), stream: fmt.Sprint("s", w.rand.IntN(streams)), log: w.logs[w.rand.IntN(partitions)], refused: map[int]bool{},
		})
	}
	return w
}

func (w *world) addLog() {
	p := contactsync.TopicPartition{Topic: "a", Partition: int32(len(w.logs))}
	w.logs = append(w.logs, &worldLog{w: w, partition: p})
}

// addPartition adds one, and contacts that are in it.
func (w *world) addPartition() {
	w.addLog()
	w.topics["a"] = Topic{w.topics["a"].ID, len(w.logs)}
	for range 3 {
		i := len(w.contacts)
		w.contacts = append(w.contacts, &worldContact{id: fmt.Sprint("c", i), stream: "s0", log: w.logs[len(w.logs)-1], refused: map[int]bool{}})
	}
}

func (w *world) batcherConfig() batcher.Config {
	c := batcher.DefaultConfig()
	c.MaxRows, c.Linger = 8, 300*time.Millisecond
	c.BackoffMin, c.BackoffMax = 100*time.Millisecond, 2*time.Second
	c.AmbiguousRetryDelay = worldAmbiguous
	c.MaxInFlight = 4
	c.HoldProbeMax = 2 * time.Second
	c.DeadLetterMaxPerMinute, c.RowAttempts = 10_000, 1000
	return c
}
