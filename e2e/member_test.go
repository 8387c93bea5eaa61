//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
	kafkaclient "github.com/contactsync/contactsync/internal/kafka"
)

// membership is a group on Apache Kafka, which differs from the embedded broker in
// what it does with static members, and the only one that other clients were made for.
type membership struct {
	*testing.T
	cluster *kafka.Cluster
	group   string
	topic   string
}

func newMembership(t *testing.T, cluster *kafka.Cluster, partitions int32) *membership {
	t.Helper()
	name := fmt.Sprintf("member-%d", rand.Uint32())
	replicas := int16(min(len(cluster.Brokers()), 3))
	if err := cluster.CreateTopic(t.Context(), name, partitions, replicas, nil); err != nil {
		t.Fatal(err)
	}
	return &membership{T: t, cluster: cluster, group: name, topic: name}
}

// ours is a member of this service, with an owner that gives back at once.
type ours struct {
	stop func() // in order

	mu     sync.Mutex
	gen    *kafkaclient.Generation // nil while nothing is owned
	counts int                     // of assignments
}

func (m *membership) join(change func(*kafkaclient.GroupConfig)) *ours {
	m.Helper()
	gc := kafkaclient.GroupConfig{
		ID: m.group, Topics: []string{m.topic}, SessionTimeout: 10 * time.Second, RebalanceTimeout: 20 * time.Second,
		HeartbeatInterval: 300 * time.Millisecond, PartitionCheckInterval: time.Second,
	}
	if change != nil {
		change(&gc)
	}
	cfg := kafkaclient.DefaultConfig()
	cfg.Brokers = m.cluster.Brokers()
	client, err := kafkaclient.New(cfg, slog.New(slog.NewTextHandler(testLog{m.T}, nil)), gc.Topics...)
	if err != nil {
		m.Fatal(err)
	}
	o := &ours{}
	group := client.NewGroup(gc)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			gen, err := group.Next(ctx)
			if err != nil {
				kafkaclient.Sleep(ctx, 100*time.Millisecond)
				continue
			}
			o.set(gen)
			select {
			case <-gen.Ended.Done():
			case <-ctx.Done():
			}
			o.set(nil)
		}
		leave, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := group.Leave(leave); err != nil {
			m.Errorf("leave: %v", err)
		}
		client.Close()
	}()
	o.stop = sync.OnceFunc(func() { cancel(); <-ended })
	m.Cleanup(o.stop)
	return o
}

func (o *ours) set(gen *kafkaclient.Generation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gen = gen; gen != nil {
		o.counts++
	}
}

func (o *ours) owned() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gen == nil {
		return 0
	}
	return len(o.gen.Owned)
}

// generation is the group's number of the one that is owned.
func (o *ours) generation() int32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gen == nil {
		return -1
	}
	return o.gen.Group
}

// testLog writes to the test's log while the test runs.
type testLog struct{ t *testing.T }

func (w testLog) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (m *membership) until(what string, within time.Duration, ok func() bool) {
	m.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			m.Fatalf("in vain for %v: %s", within, what)
		}
	}
}

// wait lets time pass in which nothing should happen.
func (m *membership) wait(d time.Duration) { kafkaclient.Sleep(m.Context(), d) }

// java is Java's own consumer as a member.
func (m *membership) java(assignors string) (owned func() int, leave func()) {
	m.Helper()
	cmd, err := m.cluster.Java(context.Background(), "java/Member.java", strings.Join(m.cluster.Brokers(), ","), m.group, m.topic, assignors)
	if errors.Is(err, kafka.ErrNotOwned) {
		m.Skip(err)
	}
	if err != nil {
		m.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		m.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	var n atomic.Int64
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var count int64
			if _, err := fmt.Sscanf(lines.Text(), "owned %d", &count); err == nil {
				n.Store(count)
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	leave = sync.OnceFunc(func() {
		in.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			m.Errorf("Java's member: %v\n%s", err, complaints.String())
		}
		n.Store(0)
	})
	m.Cleanup(leave)
	return func() int { return int(n.Load()) }, leave
}

const assignorPackage = "org.apache.kafka.clients.consumer."

// TestMembership_WithJava runs groups of this service and of Java's consumer, which
// is how a feed is moved from one to the other.
func TestMembership_WithJava(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 1})
	for _, c := range []struct{ name, assignors string }{
		{"range", assignorPackage + "RangeAssignor"},
		{"its defaults", assignorPackage + "RangeAssignor," + assignorPackage + "CooperativeStickyAssignor"},
		{"sticky", assignorPackage + "StickyAssignor"},
		{"cooperative", assignorPackage + "CooperativeStickyAssignor"},
		{"the broker assigns", "consumer"},
	} {
		for _, first := range []string{"java", "ours"} {
			t.Run(c.name+", "+first+" first", func(t *testing.T) {
				m := newMembership(t, cluster, 6)
				var one *ours
				var java func() int
				var leave func()
				if first == "java" {
					java, leave = m.java(c.assignors)
					m.until("Java owns all", time.Minute, func() bool { return java() == 6 })
					one = m.join(nil)
				} else {
					one = m.join(nil)
					m.until("ours owns all", time.Minute, func() bool { return one.owned() == 6 })
					java, leave = m.java(c.assignors)
				}
				m.until("they share", time.Minute, func() bool { return one.owned() == 3 && java() == 3 })
				two := m.join(nil)
				m.until("all three share", time.Minute, func() bool { return one.owned() == 2 && two.owned() == 2 && java() == 2 })
				counts := one.counts
				m.wait(3 * time.Second)
				if one.counts != counts {
					t.Errorf("the group does not come to rest: %d assignments in 3 s", one.counts-counts)
				}
				leave()
				m.until("Java has left", time.Minute, func() bool { return one.owned() == 3 && two.owned() == 3 })
			})
		}
	}
}

// TestMembership_Static restarts replicas that have an instance id, one after the other.
func TestMembership_Static(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 1})
	m := newMembership(t, cluster, 6)
	other := m.topic + "-other"
	if err := cluster.CreateTopic(t.Context(), other, 6, 1, nil); err != nil {
		t.Fatal(err)
	}
	topics := []string{m.topic}
	join := func(i int) *ours {
		return m.join(func(c *kafkaclient.GroupConfig) { c.InstanceID, c.Topics = fmt.Sprint("pod-", i), topics })
	}
	members := []*ours{join(0), join(1), join(2)}
	all := func(each int) func() bool {
		return func() bool {
			for _, o := range members {
				if o.owned() != each || o.generation() != members[0].generation() {
					return false
				}
			}
			return true
		}
	}
	m.until("they share", time.Minute, all(2))
	m.wait(2 * time.Second)
	before := members[0].generation()
	for i := range members {
		members[i].stop()
		m.wait(time.Second)
		members[i] = join(i)
		m.until("it is back", 20*time.Second, all(2))
		m.wait(3 * time.Second) // whatever it finds amiss
	}
	if after := members[0].generation(); after != before {
		t.Errorf("%d rebalances for three restarts", after-before)
	}
	if err := cluster.AddPartitions(t.Context(), m.topic, 9); err != nil {
		t.Fatal(err)
	}
	m.until("new partitions are shared", 30*time.Second, all(3))
	if after := members[0].generation(); after != before+1 {
		t.Errorf("%d rebalances for more partitions", after-before)
	}
	// A rolling restart with one more topic.
	topics = []string{m.topic, other}
	for i := range members {
		members[i].stop()
		members[i] = join(i)
		m.wait(6 * time.Second)
	}
	m.until("the new topic is shared too", 30*time.Second, all(5))
}

// TestMembership_FrozenBroker freezes the broker that coordinates the group, and that
// the settings name first.
func TestMembership_FrozenBroker(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 3})
	m := newMembership(t, cluster, 6)
	one, two := m.join(nil), m.join(nil)
	m.until("they share", time.Minute, func() bool { return one.owned() == 3 && two.owned() == 3 })
	node, err := cluster.Coordinator(t.Context(), m.group)
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.PauseNode(node); err != nil {
		if errors.Is(err, kafka.ErrNotOwned) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	defer func() { _ = cluster.ResumeNode(node) }()
	start := time.Now()
	m.wait(time.Second)
	m.until("the group works without the frozen broker", time.Minute, func() bool { return one.owned() == 3 && two.owned() == 3 })
	three := m.join(nil)
	m.until("a third one joins", 3*time.Minute, func() bool { return one.owned() == 2 && two.owned() == 2 && three.owned() == 2 })
	t.Logf("three members share after %v without the coordinator", time.Since(start))
}
