package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/upstream"
)

// Status is the content of /status.
type Status struct {
	Version    string               `json:"version"`
	Time       time.Time            `json:"time"`    // of this answer
	Started    time.Time            `json:"started"` // of the process
	Headline   Headline             `json:"headline"`
	NotReady   string               `json:"not_ready,omitzero"` // the reason; absent if ready
	Stuck      string               `json:"stuck,omitzero"`     // why a restart would help, or that the loop does not answer; absent if neither
	Gates      map[string]Gate      `json:"gates"`              // by account
	Partitions []consumer.Partition `json:"partitions"`         // those that this replica owns
	// MissingTopics are those of consumer.topics that do not exist, or that the service may not see.
	MissingTopics []string `json:"missing_topics,omitzero"`
	// CommitsFailSince is when the first of the last commits failed, of which none was taken.
	CommitsFailSince time.Time      `json:"commits_fail_since,omitzero"`
	Window           batcher.Status `json:"window"`
	// Files are those of credentials and certificates that cannot be used, or of which something ends.
	Files []keyfile.Report `json:"files"`
	Flow  Flow             `json:"flow"`
	// DeadLetters are the last ones that were written, the newest first.
	DeadLetters []deadletter.Written `json:"dead_letters"`
	// Settings are those in force, without what may be secret.
	Settings []config.Value `json:"settings"`
}

// Gate is what a request of an account would meet now.
type Gate struct {
	State string    `json:"state"` // see upstream.State
	Until time.Time `json:"until,omitzero"`
	Share float64   `json:"share"` // this replica's requests per window; 0 without a limit
	// Window is that of the budget, in seconds; absent without a limit.
	Window float64 `json:"window,omitzero"`
}

func gateOf(s upstream.State) Gate {
	return Gate{s.Name, s.Until, s.Share, s.Window.Seconds()}
}

func (a *App) status() any {
	s := Status{
		Version: a.version, Time: time.Now(), Started: a.started, NotReady: a.NotReady(), Stuck: a.Stuck(),
		Gates: map[string]Gate{}, Partitions: a.consumer.Partitions(), MissingTopics: a.consumer.MissingTopics(), CommitsFailSince: a.consumer.CommitsFailSince(),
		Flow: flowOf(a.metrics), DeadLetters: a.deadLetters.Recent(), Settings: a.settings,
		Files: slices.Concat(kafka.Files(a.kafka), a.upstream.Files()),
	}
	if s.Stuck == "" { // a stuck loop would not answer
		s.window(a.batcher)
	}
	for _, account := range a.cfg.Upstream.Accounts {
		if g, ok := a.upstream.Gate(account.ID); ok {
			s.Gates[account.ID] = gateOf(g.State(time.Now()))
		}
	}
	s.Headline = s.headline()
	return s
}

// statusPatience is how long a status waits for the batcher's loop, which answers within milliseconds.
const statusPatience = 2 * time.Second

// window asks the loop for what it knows. A status is made for many who ask, so it waits for nothing for long.
func (s *Status) window(b *batcher.Batcher) {
	ctx, cancel := context.WithTimeout(context.Background(), statusPatience)
	defer cancel()
	var err error
	if s.Window, err = b.Status(ctx); errors.Is(err, context.DeadlineExceeded) {
		s.Stuck = fmt.Sprint("the batcher's loop has not answered for ", statusPatience)
	}
}
