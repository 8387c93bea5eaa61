package app

import (
	"time"

	"github.com/contactsync/contactsync/batcher"
)

// Status is what /status shows.
type Status struct {
	Version string          `json:"version"`
	Ready   string          `json:"not_ready,omitzero"` // why; absent when it is
	Live    string          `json:"stuck,omitzero"`     // why a restart would help; absent while all is well
	Gates   map[string]gate `json:"gates"`              // by account
	Window  batcher.Status  `json:"window"`
}

// gate is what a request of an account would meet now.
type gate struct {
	State string    `json:"state"`
	Until time.Time `json:"until,omitzero"`
	Share float64   `json:"share"` // requests per window that are this replica's; 0 without a limit
}

func (a *App) status() any {
	s := Status{Version: a.version, Ready: a.Ready(), Live: a.Live(), Gates: map[string]gate{}}
	if s.Live == "" { // a loop that does not turn would not answer
		s.Window = a.batcher.Status()
	}
	for _, account := range a.cfg.Upstream.Accounts {
		if g, ok := a.upstream.Gate(account.ID); ok {
			state := g.State(time.Now())
			s.Gates[account.ID] = gate{state.Name, state.Until, state.Share}
		}
	}
	return s
}
