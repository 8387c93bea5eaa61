package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

func TestBroker_ServesItsTopicsUntilTheSignal(t *testing.T) {
	t.Parallel()
	s := serve(t, "broker", "--port", "0", "--nodes", "2", "--topics", "a=2,b=1")
	addrs := strings.Split(s.first[strings.LastIndex(s.first, " ")+1:], ",")
	if len(addrs) != 2 {
		t.Fatalf("first line %q, want two brokers", s.first)
	}
	for topic, partitions := range map[string]int{"a": 2, "b": 1} {
		if ends, err := broker.EndOffsets(t.Context(), addrs, topic); err != nil || len(ends) != partitions {
			t.Errorf("topic %s has %d partitions, %v", topic, len(ends), err)
		}
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"produce", "--brokers", addrs[0], "--topic", "a", "--events", "10"}, io.Discard, &errs); code != 0 {
		t.Errorf("produce: code %d, %s", code, errs.String())
	}
	s.rest()
}

// The example's settings fit what broker and stub do without flags.
func TestBroker_ExampleFitsTheDefaults(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load("../../examples/lab.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := cfg.Upstream.Accounts[0]
	secret, err := os.ReadFile("../../" + a.Credentials.ClientSecretFile)
	if err != nil || strings.TrimSpace(string(secret)) != stub.LabSecret || a.Credentials.ClientID != stub.LabAppID {
		t.Errorf("the stub does not take these credentials: %v", err)
	}
	port, listen := brokerCommand().Flag("port").DefValue, stubCommand().Flag("listen").DefValue
	if cfg.Kafka.Brokers[0] != "127.0.0.1:"+port || a.Host != "http://"+listen {
		t.Errorf("brokers %v and host %s, want port %s and %s", cfg.Kafka.Brokers, a.Host, port, listen)
	}
	if cfg.Consumer.Topics[0] != harness.Topic || cfg.DeadLetter.Topic != harness.DeadLetters {
		t.Errorf("topics %v and %s", cfg.Consumer.Topics, cfg.DeadLetter.Topic)
	}
}
