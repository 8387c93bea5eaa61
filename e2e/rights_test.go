//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

const (
	user = "sync"
	// reauth is the lifetime of a login: afterwards a broker ends the connection with its
	// next request.
	reauth = 5 * time.Second
)

// TestRights has the service log in, with the rights that it needs and no others.
func TestRights(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 1, Users: map[string]string{user: userPassword}, Properties: map[string]string{
		"connections.max.reauth.ms": "5000",
	}})
	t.Run("check names what is missing", func(t *testing.T) { checkNamesWhatIsMissing(t, cluster) })
	t.Run("logins expire", func(t *testing.T) { loginsExpire(t, cluster) })
	t.Run("one of two topics deleted", func(t *testing.T) { oneTopicGone(t, cluster, "deleted") })
	t.Run("read withdrawn", func(t *testing.T) { oneTopicGone(t, cluster, "read") })
	t.Run("read and describe withdrawn", func(t *testing.T) {
		if !*long {
			t.Skip("much the same as a deleted topic: make e2e-all")
		}
		oneTopicGone(t, cluster, "all")
	})
}

// allow gives the user the rights that the service needs.
func (r *run) allow() {
	r.t.Helper()
	give := func(on kafka.Resource, rights ...kafka.Right) {
		if err := r.cluster.Allow(r.t.Context(), user, on, rights...); err != nil {
			r.t.Fatal(err)
		}
	}
	give(kafka.Resource{Name: r.Group, Group: true}, kafka.Read)
	give(kafka.Resource{Name: r.DeadLetters}, kafka.Write, kafka.Describe)
	give(kafka.Resource{Name: r.Topic}, kafka.Read, kafka.Describe)
	if r.other != "" {
		give(kafka.Resource{Name: r.other}, kafka.Read, kafka.Describe)
	}
}

// loginsExpire has every connection end after its login's time, again and again. The
// membership must not notice.
func loginsExpire(t *testing.T, cluster *kafka.Cluster) {
	periods := 4
	if *long {
		periods = 20
	}
	r := newRun(t, cluster, runOptions{user: user})
	r.allow()
	both := r.startPair()
	sum := func(name string, label ...string) float64 {
		return both[0].series(name, label...) + both[1].series(name, label...)
	}
	before, rebalances := both[0].generations(), sum("consumer_rebalances_total")
	r.feed(func(c *feed.Config) {
		c.Events, c.Contacts, c.Streams, c.Rate, c.KeyByStream = 500*int(reauth.Seconds())*periods, 2_000, 30, 500, true
		c.PoisonShare = 0.01
	})
	r.drain()
	more, fetches, commits := sum("consumer_rebalances_total")-rebalances, sum("consumer_fetch_errors_total"), sum("consumer_commits_total", `result="error"`)
	after := both[0].generations()
	stopAll(both)
	gap, where := longestGap(r.api.Calls())
	report := r.verify(func(in *check.Input) { in.MaxRepeated = 100 }) // a write whose answer was cut off
	t.Logf("LOGINS EXPIRE every %v, %d times: %.0f rebalances, %.0f fetches and %.0f commits failed and were made again, longest gap of a stream %v (%s), %d states and %d dead letters sent again",
		reauth, periods, more, fetches, commits, gap.Round(time.Millisecond), where, report.Duplicates, report.Repeated)
	if more != 0 || after[len(after)-1] != before[len(before)-1] {
		t.Errorf("%.0f rebalances, generations %v, then %v", more, before, after)
	}
}

// oneTopicGone takes one of two topics away while two replicas read both, and stops one of
// them, so that the group rebalances. The other topic goes on.
func oneTopicGone(t *testing.T, cluster *kafka.Cluster, how string) {
	r := newRun(t, cluster, runOptions{user: user, other: "-b", partitions: 3})
	r.allow()
	both := r.startPair()
	before := slices.Max(both[0].generations())
	arrives := r.feedInBackground(func(c *feed.Config) {
		c.Events, c.Contacts, c.Streams, c.Rate, c.KeyByStream = 7_500, 2_000, 30, 500, true
	})
	until(t, "the first rows", func() bool { return r.api.Stats().AppliedRows > 200 })
	var err error
	on := kafka.Resource{Name: r.other}
	switch how {
	case "deleted":
		err = cluster.DeleteTopic(t.Context(), r.other)
	case "read":
		err = cluster.Withdraw(t.Context(), user, on, kafka.Read)
	case "all":
		err = cluster.Withdraw(t.Context(), user, on, kafka.Read, kafka.Describe)
	}
	if err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	named := func(p *process) bool {
		if how == "read" { // its partitions are assigned as before
			return p.series("consumer_partition_state", `topic="`+r.other+`"`, `state="forbidden"`) > 0 && strings.Contains(p.page("/status"), `"state": "forbidden"`)
		}
		return p.series("consumer_missing_topics") == 1 && strings.Contains(p.page("/status"), `"missing_topics"`)
	}
	owns := 3 // of the other topic
	if how == "read" {
		owns = 6
	}
	until(t, "a replica to name the topic", func() bool { return named(both[0]) || named(both[1]) })
	known := time.Since(gone)
	stopped := time.Now()
	both[1].stop()
	until(t, "the other replica to own what there is and to name the topic", func() bool {
		return both[0].series("consumer_assigned_partitions") == float64(owns) && named(both[0])
	})
	again := time.Since(stopped)
	until(t, "it to read the other topic", func() bool {
		return both[0].series("consumer_partition_state", `topic="`+r.Topic+`"`, `state="reading"`) == 3
	})
	reading := time.Since(stopped)
	arrives()
	r.drain()
	if page := both[0].page("/readyz"); page != "ok\n" {
		t.Errorf("the other topic is read, and the replica is not ready: %s", page)
	}
	if there, err := cluster.HasTopic(t.Context(), r.other); err != nil || there != (how != "deleted") {
		t.Errorf("the topic is there: %v, %v", there, err)
	}
	rebalances := slices.Max(both[0].generations()) - before
	both[0].stop()
	gap, where := longestGap(r.api.Calls())
	report := r.verify(nil)
	t.Logf("ONE TOPIC GONE (%s): named after %v; after a stop of the other replica named again within %v, its other topic read by one within %v; longest gap of a stream %v (%s), %d rebalances, %d sent again",
		how, known.Round(time.Millisecond), again.Round(time.Millisecond), reading.Round(time.Millisecond), gap.Round(time.Millisecond), where, rebalances, report.Duplicates)
	if gap > 30*time.Second {
		t.Errorf("stream %s of the other topic stood still for %v", where, gap)
	}
}
