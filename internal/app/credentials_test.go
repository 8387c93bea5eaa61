package app_test

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestService_ANewSecretIsTriedAtOnce starts with a secret that the API refuses, and puts the right one in its place. The
// next probe would be due minutes later.
func TestService_ANewSecretIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	b := &l.Config.Batcher
	b.BackoffMin, b.BackoffMax, b.HoldProbeMax = 10*time.Minute, 10*time.Minute, 10*time.Minute
	file, err := l.Secret("another-secret", "one-that-was-rotated")
	if err != nil {
		t.Fatal(err)
	}
	l.Config.Upstream.Accounts[0].Credentials.ClientSecretFile = file
	replica := l.start()
	l.put(event{stream: "st-1", id: "c", seq: 1})
	l.until("the stream to be on hold", func() bool { return replica.Series().Value("batcher_streams_on_hold") == 1 })
	if _, err := l.Secret("another-secret", stub.LabSecret); err != nil {
		t.Fatal(err)
	}
	l.drain()
	l.stop()
	l.verify(nil)
}
