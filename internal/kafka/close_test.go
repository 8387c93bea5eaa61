package kafka

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A renewal that is under way ends with the client, and before Close returns.
func TestClient_CloseWaitsForARenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Brokers = []string{"broker:1"}
		c, err := New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		trying := make(chan struct{})
		var ended atomic.Bool
		c.renewal.try = func(ctx context.Context, _ *identity) error {
			close(trying)
			<-ctx.Done()
			Sleep(context.Background(), time.Second) // a connection is closed
			ended.Store(true)
			return context.Cause(ctx)
		}
		c.renewal.refused.Store(new("authorization"))
		<-trying
		c.Close()
		if !ended.Load() {
			t.Error("it goes on")
		}
	})
}

// The log says why connections are renewed: a topic that was deleted is no missing right.
func TestRenewal_NotesWhatWasRefused(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{ErrDenied: "authorization", ErrNoTopic: "missing topic", errors.Join(ErrNoTopic, ErrDenied): "authorization"} {
		var r renewal
		if _ = r.note(err); r.refused.Load() == nil || *r.refused.Load() != want {
			t.Errorf("%v: %v, want %s", err, r.refused.Load(), want)
		}
	}
}
