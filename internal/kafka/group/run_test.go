package group

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dialing is an Exchanger that dials for every exchange.
type dialing struct{}

func (dialing) Exchange(ctx context.Context, address string, request []byte) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil {
		return nil, err
	}
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, min(binary.BigEndian.Uint32(length[:]), MaxAnswer))
	_, err = io.ReadFull(conn, answer)
	return answer, err
}

// cluster is an embedded broker with a topic.
type cluster struct {
	*testing.T
	addrs []string
	topic string
	admin *kadm.Client
}

func newCluster(t *testing.T, partitions int32) *cluster {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.GroupMinSessionTimeout(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c := &cluster{T: t, addrs: broker.ListenAddrs(), topic: "contacts", admin: kadm.NewClient(client)}
	if _, err := c.admin.CreateTopic(t.Context(), partitions, -1, nil, c.topic); err != nil {
		t.Fatal(err)
	}
	return c
}

// owner takes what a Group is assigned and gives it back when it is asked.
type owner struct {
	group *Group

	mu     sync.Mutex
	held   *Generation
	events []Event
	done   chan struct{}
}

func (c *cluster) join(change func(*Config)) *owner {
	c.Helper()
	cfg := Config{
		Group: "group", Topics: []string{c.topic}, Brokers: c.addrs, Session: 6 * time.Second, Rebalance: 10 * time.Second,
		Heartbeat: 50 * time.Millisecond, LeaseMargin: time.Second, Watch: 100 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	o := &owner{done: make(chan struct{})}
	o.group = Open(cfg, dialing{}, func(e Event) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.events = append(o.events, e)
	})
	ctx, cancel := context.WithCancel(context.Background())
	go o.group.Run(ctx)
	go func() {
		defer close(o.done)
		for {
			gen, err := o.group.Next(ctx)
			if err != nil {
				return
			}
			o.mu.Lock()
			o.held = gen
			o.mu.Unlock()
			<-gen.Current().Done()
			o.mu.Lock()
			o.held = nil
			o.mu.Unlock()
			gen.Release()
		}
	}()
	c.Cleanup(func() {
		o.group.Stop()
		<-o.group.Ended()
		cancel()
		<-o.done
	})
	return o
}

// generation is what the owner holds, as long as its lease lasts.
func (o *owner) generation() *Generation {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held == nil || !time.Now().Before(o.group.LeaseUntil()) {
		return nil
	}
	return o.held
}

func (o *owner) owned() int {
	if gen := o.generation(); gen != nil {
		return len(gen.Partitions)
	}
	return 0
}

func (c *cluster) until(what string, ok func() bool) {
	c.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			c.Fatalf("in vain: %s", what)
		}
	}
}

func TestGroup_SharesCommitsAndLeaves(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4)
	one := c.join(nil)
	c.until("all partitions", func() bool { return one.owned() == 4 })
	two := c.join(nil)
	c.until("a share each", func() bool { return one.owned() == 2 && two.owned() == 2 })
	gen := two.generation()
	first := gen.Partitions[0]
	offsets, err := gen.Fetch(t.Context(), gen.Partitions)
	if err != nil || len(offsets) != 2 || offsets[0].Offset != -1 {
		t.Fatalf("before the first commit: %v, %v", offsets, err)
	}
	if offsets, err = gen.Commit(t.Context(), []Offset{{TopicPartition: first, Offset: 7, LeaderEpoch: -1, Metadata: "\x00\xff"}}); err != nil || offsets[0].Code != codeOK {
		t.Fatalf("commit: %v, %v", offsets, err)
	}
	two.group.Stop()
	c.until("the takeover", func() bool { return one.owned() == 4 })
	if _, err := gen.Commit(t.Context(), []Offset{{TopicPartition: first, Offset: 8}}); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrNotOwned) {
		t.Errorf("a commit after leaving: %v", err)
	}
	offsets, err = one.generation().Fetch(t.Context(), []contactsync.TopicPartition{first})
	if err != nil || offsets[0].Offset != 7 || offsets[0].Metadata != "\x00\xff" || offsets[0].LeaderEpoch != -1 {
		t.Errorf("the next owner finds %+v, %v", offsets, err)
	}
	if _, err := c.admin.UpdatePartitions(t.Context(), 6, c.topic); err != nil {
		t.Fatal(err)
	}
	c.until("new partitions", func() bool { return one.owned() == 6 })
}

// Trace 5: two replicas of the build before, which are members by kafka-go, and one
// of this. Whoever leads, everybody can read what the others write.
func TestTrace05_WithTheBuildBefore(t *testing.T) {
	t.Parallel()
	for _, order := range [][]string{{"old", "old", "new"}, {"old", "new", "old"}, {"new", "old", "old"}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 6)
			var shares []func() int
			for i, build := range order {
				if build == "new" {
					shares = append(shares, c.join(nil).owned)
				} else {
					shares = append(shares, c.joinOld())
				}
				c.until(fmt.Sprintf("%d members share", i+1), func() bool {
					return !slices.ContainsFunc(shares, func(n func() int) bool { return n() != 6/len(shares) })
				})
			}
		})
	}
}

// joinOld joins as kafka-go's ConsumerGroup does, and returns how many partitions
// it owns.
func (c *cluster) joinOld() func() int {
	c.Helper()
	old, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: "group", Brokers: c.addrs, Topics: []string{c.topic}, HeartbeatInterval: 50 * time.Millisecond,
		SessionTimeout: 6 * time.Second, RebalanceTimeout: 10 * time.Second, JoinGroupBackoff: 100 * time.Millisecond,
	})
	if err != nil {
		c.Fatal(err)
	}
	var mu sync.Mutex
	owned := 0
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			gen, err := old.Next(ctx)
			if err != nil {
				continue
			}
			mu.Lock()
			owned = len(gen.Assignments[c.topic])
			mu.Unlock()
			gen.Start(func(ctx context.Context) {
				<-ctx.Done()
				mu.Lock()
				owned = 0
				mu.Unlock()
			})
		}
	}()
	c.Cleanup(func() {
		cancel()
		old.Close()
		<-ended
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return owned
	}
}

// K-2 and trace 20 on the wire: a franz-go member beside ours, with each of its ways to
// assign, as the leader and led.
func TestGroup_WithFranzGo(t *testing.T) {
	t.Parallel()
	for name, balancer := range map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
	} {
		for _, first := range []string{"theirs", "ours"} {
			t.Run(name+" "+first+" first", func(t *testing.T) {
				t.Parallel()
				c := newCluster(t, 6)
				var ours *owner
				var theirs func() int
				if first == "ours" {
					ours = c.join(nil)
					c.until("ours owns all", func() bool { return ours.owned() == 6 })
					theirs = c.joinFranz(balancer)
				} else {
					theirs = c.joinFranz(balancer)
					c.until("theirs owns all", func() bool { return theirs() == 6 })
					ours = c.join(nil)
				}
				c.until("both share", func() bool { return ours.owned() == 3 && theirs() == 3 })
				if gen := ours.generation(); gen != nil && gen.Protocol != name {
					t.Errorf("the group assigns by %s", gen.Protocol)
				}
			})
		}
	}
}

func (c *cluster) joinFranz(balancer kgo.GroupBalancer) func() int {
	c.Helper()
	var mu sync.Mutex
	owned := 0
	change := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			mu.Lock()
			defer mu.Unlock()
			owned += sign * len(parts[c.topic])
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(c.addrs...), kgo.ConsumerGroup("group"), kgo.ConsumeTopics(c.topic), kgo.Balancers(balancer),
		kgo.HeartbeatInterval(50*time.Millisecond), kgo.SessionTimeout(6*time.Second), kgo.RebalanceTimeout(10*time.Second),
		kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1)),
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		c.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			client.PollFetches(ctx)
		}
	}()
	c.Cleanup(func() {
		cancel()
		<-ended
		client.Close()
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return owned
	}
}

// A generation that nobody has asked for when the member stops holds nothing up.
func TestGroup_StopsWithoutAnOwner(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	assigned := make(chan struct{})
	g := Open(Config{
		Group: "group", Topics: []string{c.topic}, Brokers: c.addrs, Session: 6 * time.Second, Rebalance: 10 * time.Second,
		Heartbeat: time.Second, Watch: time.Second,
	}, dialing{}, func(e Event) {
		if _, ok := e.(Assigned); ok {
			close(assigned)
		}
	})
	go g.Run(context.Background())
	<-assigned
	g.Stop()
	<-g.Ended()
	g.Stop()
	if _, err := g.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Next after the end: %v", err)
	}
	groups, err := c.admin.DescribeGroups(t.Context(), "group")
	if err != nil || len(groups["group"].Members) != 0 {
		t.Errorf("the group has %v, %v", groups["group"].Members, err)
	}
}

// What a broker does not speak is named.
func TestClient_NamesVersionsThatABrokerDoesNotTake(t *testing.T) {
	t.Parallel()
	old := func(_ context.Context, _ string, request []byte) ([]byte, error) {
		correlation := request[4:8]
		return append(slices.Clone(correlation), 0, 0, 0, 0, 0, 1, 0, 11, 0, 0, 0, 4), nil // JoinGroup up to 4
	}
	cl := newClient(exchangeFunc(old), "")
	for _, req := range []request{&joinRequest{}, &heartbeatRequest{}} {
		if _, err := cl.do(t.Context(), "b:1", req); !errors.Is(err, ErrVersion) {
			t.Errorf("%v", err)
		}
	}
}

type exchangeFunc func(context.Context, string, []byte) ([]byte, error)

func (f exchangeFunc) Exchange(ctx context.Context, address string, request []byte) ([]byte, error) {
	return f(ctx, address, request)
}
