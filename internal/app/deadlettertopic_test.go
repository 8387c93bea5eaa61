package app_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/loopback"
)

// TestService_DeadLetterTopicIsMissing starts without the topic: the service logs
// it and delivers what it can; the rest waits until somebody creates the topic.
func TestService_DeadLetterTopicIsMissing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.DeadLetters = "created-later"
	l.Config.DeadLetter.Topic = l.DeadLetters
	l.Config.Consumer.ProgressTopic = "no-progress"
	l.Config.Batcher.BackoffMin, l.Config.Batcher.BackoffMax = 50*time.Millisecond, 200*time.Millisecond
	l.start()
	l.until("the log to say so", func() bool {
		return l.logged("deadletter.topic cannot be used", "topic=created-later", "does not exist: create it")
	})
	l.until("the log to name the other topic", func() bool {
		return l.logged("level=WARN", "consumer.progress_topic cannot be used", "topic=no-progress", "does not exist: create it")
	})
	l.put(
		event{stream: "st-1", id: "broken", seq: 1, key: "k", class: feed.Undecodable, value: "not JSON"},
		event{stream: "st-1", id: "good", seq: 1, key: "k"},
	)
	l.until("the good contact", func() bool { return l.api.State()["st-1"]["good"] == 1 })
	l.until("the log to say that the dead letter waits", func() bool { return l.logged("dead letters cannot be written") })
	if n := l.uncommitted(); n != 2 {
		t.Errorf("I5: %d offsets are not committed, want 2: the dead letter is nowhere", n)
	}
	if err := broker.CreateTopic(t.Context(), l.Brokers, l.DeadLetters, 1); err != nil {
		t.Fatal(err)
	}
	l.drain()
	l.until("the log to say that it is over", func() bool { return l.logged("dead letters can be written again", "attempts=") })
	l.stop()
	l.verify(nil)
}

// The same where Kafka starts after the service.
func TestService_DeadLetterTopicIsMissingInALateKafka(t *testing.T) {
	t.Parallel()
	addrs, err := loopback.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	l.Config.Kafka.Brokers, l.Config.DeadLetter.Topic = addrs, "never-created"
	l.start()
	l.until("the service to find no Kafka", func() bool { return l.logged("connection refused") })
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
	l.until("the log to say so", func() bool { return l.logged("deadletter.topic cannot be used", "topic=never-created") })
}
