package kafka_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
)

// newMember returns a member of the group "group" that reads contacts.
func (b *contacts) newMember() *kafka.Group { return b.kafka.NewGroup(b.membership()) }

func (b *contacts) membership() kafka.GroupConfig {
	return kafka.GroupConfig{
		ID: "group", Topics: []string{"contacts"},
		SessionTimeout: 6 * time.Second, RebalanceTimeout: 10 * time.Second, HeartbeatInterval: 50 * time.Millisecond,
		PartitionCheckInterval: 100 * time.Millisecond,
	}
}

func (b *contacts) next(g *kafka.Group) *kafka.Generation {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	for {
		gen, err := g.Next(ctx)
		switch {
		case err == nil:
			return gen
		case ctx.Err() != nil:
			b.t.Fatalf("not joined: %v", err)
		}
		kafka.Sleep(ctx, 50*time.Millisecond)
	}
}

func (b *contacts) leave(g *kafka.Group) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := g.Leave(ctx); err != nil {
		b.t.Error(err)
	}
}

func TestGroup_OwnsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	g := b.newMember()
	gen := b.next(g)
	if len(gen.Owned) != 2 || gen.All != 2 || gen.Owned[0].Offset != kafka.NoOffset || gen.Owned[1].Offset != kafka.NoOffset {
		t.Fatalf("the first generation owns %+v of %d", gen.Owned, gen.All)
	}
	failed, err := g.Commit(t.Context(), gen, []kafka.Committed{{TopicPartition: partition(1), Offset: 5}})
	if err != nil || len(failed) != 1 || failed[0] != nil {
		t.Fatalf("commit: %v, %v", failed, err)
	}
	older := *gen
	older.ID--
	failed, err = g.Commit(t.Context(), &older, []kafka.Committed{{TopicPartition: partition(1), Offset: 3}, {TopicPartition: partition(0), Offset: 3}})
	if err != nil || len(failed) != 2 || !errors.Is(failed[0], kafka.ErrFenced) || !errors.Is(failed[1], kafka.ErrFenced) {
		t.Fatalf("commit in an older generation: %v, %v", failed, err)
	}
	b.leave(g)
	again := b.newMember()
	defer b.leave(again)
	for _, o := range b.next(again).Owned {
		if want := map[int32]int64{0: kafka.NoOffset, 1: 5}[o.Partition]; o.Offset != want {
			t.Errorf("%v is committed at %d, want %d", o.TopicPartition, o.Offset, want)
		}
	}
}

// A generation is held although it has ended: no other is joined before it is given up.
func TestGroup_HoldsAGenerationThatHasEnded(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	g := b.newMember()
	gen := b.next(g)
	if _, err := kadm.NewClient(b.client).UpdatePartitions(t.Context(), 4, "contacts"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gen.Ended.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("new partitions did not end the generation")
	}
	if why := context.Cause(gen.Ended); !errors.Is(why, kafka.ErrRebalance) || !strings.Contains(why.Error(), "other partitions") {
		t.Errorf("it ended by: %v", why)
	}
	failed, err := g.Commit(t.Context(), gen, []kafka.Committed{{TopicPartition: partition(0), Offset: 1}})
	if err != nil || failed[0] != nil {
		t.Errorf("the last commit: %v, %v", failed, err)
	}
	if gen = b.next(g); len(gen.Owned) != 4 || gen.All != 4 {
		t.Errorf("the next generation owns %+v of %d", gen.Owned, gen.All)
	}
	b.leave(g)
}

// A member that stops must not join once more to leave: every other one would give
// its partitions back for that. With an instance id it does not even leave.
func TestGroup_LeavesWithoutJoiningAgain(t *testing.T) {
	t.Parallel()
	for instance, want := range map[string]int64{"": 1, "pod-0": 0} {
		t.Run("instance "+instance, func(t *testing.T) {
			t.Parallel()
			b := newContacts(t, nil)
			var joins, leaves atomic.Int64
			b.broker.Cluster.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
				b.broker.Cluster.KeepControl()
				joins.Add(1)
				return nil, nil, false
			})
			b.broker.Cluster.ControlKey(int16(kmsg.LeaveGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
				b.broker.Cluster.KeepControl()
				leaves.Add(1)
				return nil, nil, false
			})
			cfg := b.membership()
			cfg.InstanceID = instance
			g := b.kafka.NewGroup(cfg)
			b.next(g)
			joined := joins.Load()
			b.leave(g)
			b.leave(g) // again: it has left
			if joins.Load() != joined || leaves.Load() != want {
				t.Errorf("%d more joins, want none, and %d leaves, want %d", joins.Load()-joined, leaves.Load(), want)
			}
		})
	}
}

// A replica with an instance id comes back to what it had, without a rebalance.
func TestGroup_RestartsWithAnInstanceID(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	cfg := b.membership()
	cfg.InstanceID = "pod-0"
	first := b.kafka.NewGroup(cfg)
	before := b.next(first)
	b.leave(first)
	second := b.kafka.NewGroup(cfg)
	defer b.leave(second)
	after := b.next(second)
	if after.Group != before.Group || len(after.Owned) != 2 {
		t.Errorf("generation %d becomes %d with %+v", before.Group, after.Group, after.Owned)
	}
}

// The lease is the coordinator's word, and ends before its session does.
func TestGroup_LeaseLastsWhileHeartbeatsAreAnswered(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	g := b.newMember()
	if !g.LeaseUntil().IsZero() {
		t.Error("a lease before the first generation")
	}
	gen := b.next(g)
	first := g.LeaseUntil()
	kafka.Sleep(t.Context(), 300*time.Millisecond)
	if later := g.LeaseUntil(); !later.After(first) || later.After(time.Now().Add(6*time.Second)) {
		t.Errorf("the lease goes from %v to %v", first, later)
	}
	// The coordinator does not answer any more.
	b.broker.Cluster.ControlKey(int16(kmsg.Heartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster.KeepControl()
		res := req.ResponseKind().(*kmsg.HeartbeatResponse)
		res.ErrorCode = 25
		return res, nil, true
	})
	for _, over := range []context.Context{gen.Lost, gen.Ended} {
		select {
		case <-over.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("a member that is unknown to the coordinator goes on")
		}
	}
	if why := context.Cause(gen.Ended); !errors.Is(why, kafka.ErrFenced) || !g.LeaseUntil().IsZero() {
		t.Errorf("it ended by %v, and the lease lasts until %v", why, g.LeaseUntil())
	}
	failed, err := g.Commit(t.Context(), gen, []kafka.Committed{{TopicPartition: partition(0), Offset: 1}})
	if err != nil || !errors.Is(failed[0], kafka.ErrFenced) {
		t.Errorf("a commit after that: %v, %v", failed, err)
	}
	b.leave(g)
}

func TestGroup_LeaveDoesNotWaitForASilentCoordinator(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	answer := make(chan struct{})
	b.broker.Cluster.ControlKey(int16(kmsg.LeaveGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster.SleepControl(func() { <-answer })
		return nil, nil, false
	})
	g := b.newMember()
	b.next(g)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := g.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Leave: %v", err)
	}
	b.kafka.Close()
	select {
	case <-g.Ended():
	default:
		t.Error("the membership goes on when the client is closed")
	}
	close(answer)
}

// A replica that starts while topics are missing, or may not be seen, reads the others, and
// says so once.
func TestGroup_StartsWithoutSomeOfItsTopics(t *testing.T) {
	t.Parallel()
	right := func(resource kmsg.ACLResourceType, name string) kfake.ACL {
		return kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationRead, Allow: true}
	}
	cluster := newCluster(t, kfake.SeedTopics(2, "contacts", "secret"), kfake.EnableACLs(), kfake.EnableSASL(),
		kfake.User("PLAIN", "user", "pass", right(kmsg.ACLResourceTypeTopic, "contacts"), right(kmsg.ACLResourceTypeTopic, "gone"), right(kmsg.ACLResourceTypeGroup, "group")))
	var log logbuffer.Buffer
	cfg := configFor(cluster.ListenAddrs()...)
	cfg.SASL = kafka.SASL{
		Mechanism: kafka.Plain, Username: "user", AllowPlaintext: true,
		PasswordFile: write(t, t.TempDir(), "password", []byte("pass")),
	}
	client, err := kafka.New(cfg, slog.New(slog.NewTextHandler(&log, nil)), "contacts")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b := &contacts{t: t, kafka: client}
	membership := b.membership()
	membership.Topics = []string{"secret", "gone", "contacts"}
	g := client.NewGroup(membership)
	defer b.leave(g)
	for range 2 { // the second one after a rebalance
		gen := b.next(g)
		if len(gen.Owned) != 2 || gen.All != 2 || !slices.Equal(gen.Missing, []string{"secret", "gone"}) {
			t.Fatalf("owns %+v of %d, missing %q", gen.Owned, gen.All, gen.Missing)
		}
	}
	for _, topic := range []string{"secret", "gone"} {
		if n := strings.Count(log.String(), "topic="+topic); n != 1 {
			t.Errorf("%d messages name the topic %s, want one:\n%s", n, topic, &log)
		}
	}
}

// What the coordinator refuses for want of a right says what to grant, as it does elsewhere.
func TestGroup_SaysWhichRightIsMissing(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	g := b.newMember()
	gen := b.next(g)
	defer b.leave(g)
	for code, grant := range map[int16]string{29: "grant READ on the topic", 30: `grant READ on the group "group"`} {
		b.broker.Cluster.ControlKey(int16(kmsg.OffsetFetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			res := req.ResponseKind().(*kmsg.OffsetFetchResponse)
			for _, asked := range req.(*kmsg.OffsetFetchRequest).Groups {
				answer := kmsg.NewOffsetFetchResponseGroup()
				answer.Group = asked.Group
				for _, topic := range asked.Topics {
					t := kmsg.NewOffsetFetchResponseGroupTopic()
					t.Topic, t.TopicID = topic.Topic, topic.TopicID
					for _, p := range topic.Partitions {
						of := kmsg.NewOffsetFetchResponseGroupTopicPartition()
						of.Partition, of.ErrorCode = p, code
						t.Partitions = append(t.Partitions, of)
					}
					answer.Topics = append(answer.Topics, t)
				}
				res.Groups = append(res.Groups, answer)
			}
			return res, nil, true
		})
		if code == 29 { // the other one is about the whole group, and asked again
			if c := g.Committed(t.Context(), gen, partition(0)); !errors.Is(c.Err, kafka.ErrDenied) || !strings.Contains(kafka.Reason(c.Err), grant) {
				t.Errorf("fetch of an offset: %v", c.Err)
			}
		}
		b.broker.Cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
			return broker.RefusedCommit(req, code), nil, true
		})
		failed, err := g.Commit(t.Context(), gen, []kafka.Committed{{TopicPartition: partition(0), Offset: 1}})
		if err == nil {
			err = failed[0]
		}
		if !errors.Is(err, kafka.ErrDenied) || !strings.Contains(err.Error(), grant) {
			t.Errorf("commit: %v, want %q", err, grant)
		}
	}
}
