package app_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/loopback"
)

// TestService_DeadLetterTopicIsMissing starts without the topic: that is told, what
// can be delivered is, the rest waits, and goes on when somebody makes the topic.
func TestService_DeadLetterTopicIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.cfg.DeadLetter.Topic = "made-later"
	w.cfg.Batcher.BackoffMin, w.cfg.Batcher.BackoffMax = 50*time.Millisecond, 200*time.Millisecond
	w.replica(app.Options{})
	w.until("the log to say so", func() bool {
		return w.logged("deadletter.topic cannot be used", `topic=made-later`, "does not exist: create it")
	})
	w.produce("k", "not JSON")
	w.produce("k", contact("st-1", "good", 1))
	w.until("the good contact", func() bool { return w.api.State()["st-1"]["good"] == 1 })
	w.until("the log to say that the letter waits", func() bool { return w.logged("dead letters cannot be written") })
	if n := w.committed(); n > 0 {
		t.Errorf("I5: %d offsets are committed, and the dead letter is nowhere", n)
	}
	if _, err := w.admin.CreateTopic(t.Context(), 1, 1, nil, "made-later"); err != nil {
		t.Fatal(err)
	}
	w.until("all offsets to be committed", func() bool { return w.committed() == 2 })
	w.until("the log to say that it is over", func() bool { return w.logged("dead letters are written again", "attempts=") })
}

// The same where Kafka comes later than the service.
func TestService_DeadLetterTopicIsMissingInALateKafka(t *testing.T) {
	t.Parallel()
	addrs, err := loopback.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil)
	w.cfg.Kafka.Brokers, w.cfg.DeadLetter.Topic = addrs, "made-never"
	w.replica(app.Options{})
	w.until("the service to ask in vain", func() bool { return w.logged("connection refused") })
	_, port, err := net.SplitHostPort(addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Start(broker.Options{Port: number, Topics: map[string]int32{"contacts": 3}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	w.until("the log to say so", func() bool { return w.logged("deadletter.topic cannot be used", "topic=made-never") })
}
