package app

import (
	"errors"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/kafka"
)

func TestCheckTopic(t *testing.T) {
	t.Parallel()
	cfg := config.DefaultConfig()
	cfg.Consumer.Topics, cfg.DeadLetter.Topic, cfg.Event.MaxEventBytes = []string{"contacts"}, "dead", 256<<10
	good := func(name string) kafka.Topic {
		return kafka.Topic{Name: name, Replicas: 3, CleanupPolicy: "delete", MinInsyncReplicas: 2, MaxMessageBytes: 1 << 20}
	}
	for _, tt := range []struct {
		name   string
		topic  string
		change func(*kafka.Topic)
		fatal  bool
		want   string // in the problem; empty where there is none
	}{
		{"source as it should be", "contacts", func(*kafka.Topic) {}, false, ""},
		{"dead letters as they should be", "dead", func(*kafka.Topic) {}, false, ""},
		{"source is missing", "contacts", func(t *kafka.Topic) { t.Err = kafka.ErrNoTopic }, true, `topic "contacts" does not exist: create it`},
		{"denied is told with the rights", "contacts", func(t *kafka.Topic) { t.Err = kafka.ErrDenied }, false, ""},
		{"settings cannot be read", "dead", func(t *kafka.Topic) { t.ConfigErr = errors.New("denied"); t.CleanupPolicy = "compact" }, false, "were not checked: denied"},
		{"source is compacted", "contacts", func(t *kafka.Topic) { t.CleanupPolicy = "compact" }, false, "cleanup.policy compact"},
		{"dead letters are compacted", "dead", func(t *kafka.Topic) { t.CleanupPolicy = "compact,delete" }, true, `topic "dead" has cleanup.policy compact,delete`},
		{"dead letters may not fit", "dead", func(t *kafka.Topic) { t.MaxMessageBytes = 300 << 10 }, false, "cut to an envelope"},
		{"a source's size is the producer's matter", "contacts", func(t *kafka.Topic) { t.MaxMessageBytes = 300 << 10 }, false, ""},
		{"one broker acknowledges dead letters", "dead", func(t *kafka.Topic) { t.MinInsyncReplicas = 1 }, false, "min.insync.replicas 1"},
		{"dead letters have one replica", "dead", func(t *kafka.Topic) { t.Replicas, t.MinInsyncReplicas = 1, 1 }, false, ""},
	} {
		topic := good(tt.topic)
		tt.change(&topic)
		found := checkTopic(cfg, topic)
		if tt.want == "" {
			if len(found) != 0 {
				t.Errorf("%s: found %v", tt.name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Fatal != tt.fatal || !strings.Contains(found[0].Problem, tt.want) {
			t.Errorf("%s: found %v, want %q, fatal %v", tt.name, found, tt.want, tt.fatal)
		}
	}
}

func TestFatal_LeavesWarningsOut(t *testing.T) {
	t.Parallel()
	warning, fault := Finding{Fatal: false}, Finding{Fatal: true}
	if Fatal(nil) || Fatal([]Finding{warning}) || !Fatal([]Finding{warning, fault}) {
		t.Error("a warning counts, or a fault does not")
	}
}
