package app

import (
	"context"
	"errors"
	"time"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/upstream"
)

// Explanation is the content of /api/explain: what one replica knows of one contact.
type Explanation struct {
	Version string    `json:"version"`
	Time    time.Time `json:"time"`    // of this answer
	Started time.Time `json:"started"` // of the process
	Stream  string    `json:"stream"`
	Contact string    `json:"contact"`
	// Known says whether the process remembers anything of the contact. Whether its events are
	// in partitions of this replica shows in the topics alone.
	Known bool `json:"known"`
	batcher.ContactStatus

	// DeadLetters are those of the contact among the last ones that were written, the newest first.
	DeadLetters []deadletter.Written `json:"dead_letters"`
	// Gates are what a request would meet now, by account, of those that the events lie in.
	Gates      map[string]Gate      `json:"gates"`
	Partitions []consumer.Partition `json:"partitions"` // those that this replica owns
}

func (a *App) explain(ctx context.Context, stream, contact string) (any, error) {
	if why := a.Stuck(); why != "" {
		return nil, errors.New(why)
	}
	accounts := make([]string, len(a.cfg.Upstream.Accounts))
	for i := range a.cfg.Upstream.Accounts {
		accounts[i] = a.cfg.Upstream.Accounts[i].ID
	}
	known, err := a.batcher.Explain(ctx, accounts, stream, contact)
	if err != nil {
		return nil, err
	}
	e := Explanation{
		Version: a.version, Time: time.Now(), Started: a.started, Stream: stream, Contact: contact, ContactStatus: known,
		DeadLetters: []deadletter.Written{}, Gates: map[string]Gate{}, Partitions: a.consumer.Partitions(),
	}
	for _, w := range a.deadLetters.Recent() {
		if w.Of(stream, contact) {
			e.DeadLetters = append(e.DeadLetters, w)
		}
	}
	e.Known = len(e.Events)+len(e.DeadLetters) > 0
	for i := range e.Events {
		a.explainGate(&e, &e.Events[i])
	}
	return e, nil
}

// explainGate adds the gate of an event's account, and where a request would wait at it, how.
func (a *App) explainGate(e *Explanation, of *batcher.EventStatus) {
	g, ok := a.upstream.Gate(of.Account)
	if !ok {
		return
	}
	state := g.State(e.Time)
	e.Gates[of.Account] = gateOf(state)
	if (of.WaitsFor == batcher.WaitsForTurn || of.WaitsFor == batcher.WaitsForGate) && state.Name != upstream.StateReady {
		of.WaitsFor, of.Until = state.Name, state.Until
	}
}
