package batcher

import (
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// The streams of an account whose names begin alike are signed by one app. One app is refused: its
// streams are probed by one request at a time, and those of the other go on.
func TestWindow_ARefusedAppHoldsItsOwnStreams(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.Linger, c.BackoffMin, c.BackoffMax = 0, time.Second, time.Second })
	w.schedule.credential = func(_, stream string) string { return stream[:1] }
	for _, stream := range []string{"r1", "r2", "r3", "r4", "g1", "g2"} {
		w.known(stream)
	}
	for _, stream := range []string{"r1", "r2", "r3"} {
		w.heard(stream, contactsync.StreamGone)
	}
	a := w.schedule.account("a")
	if c := a.onHold(); c == nil || c.app != "r" || a.signer("g").held {
		t.Fatalf("on hold is %+v, want the app that was refused", c)
	}
	status := w.Status(w.now)
	if status.Accounts[0].HeldSince.IsZero() || len(status.Holds) != 3 || status.Holds[0].Credential != "r" {
		t.Errorf("the status says %+v", status)
	}
	w.now = w.now.Add(time.Minute)
	w.add("r1/c", "r2/c", "r3/c", "r4/c", "g1/c", "g2/c")
	sent := map[string]*Request{}
	for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
		sent[req.Batch.Stream] = req
	}
	var probe *Request
	for stream, req := range sent {
		if strings.HasPrefix(stream, "r") {
			if probe != nil {
				t.Errorf("%s and %s are tried at once", probe.Batch.Stream, stream)
			}
			probe = req
		}
	}
	if sent["g1"] == nil || sent["g2"] == nil || probe == nil || probe.Batch.Purpose != contactsync.Probe {
		t.Fatalf("%d requests were made, want two of the app that works, and a probe: %v", len(sent), sent)
	}
	for _, stream := range []string{"g1", "g2"} { // what is heard of one app says nothing of the other
		w.settle(sent[stream], allDelivered(sent[stream].Batch))
	}
	if a.onHold() == nil {
		t.Error("an answer for another app ends the hold")
	}
	w.settle(probe, allDelivered(probe.Batch))
	if a.onHold() != nil {
		t.Error("an answer for the app does not end the hold")
	}
}

// Three streams that are refused, each signed by another app, hold none of them.
func TestWindow_StrikesOfOneCredentialCount(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.schedule.credential = func(_, stream string) string { return stream }
	for _, stream := range []string{"x", "y", "z"} {
		w.known(stream)
	}
	for _, stream := range []string{"x", "y", "z"} {
		w.heard(stream, contactsync.StreamGone)
	}
	if c := w.schedule.account("a").onHold(); c != nil {
		t.Errorf("%+v is on hold", c)
	}
}

// A new secret is tried at once, by the streams that wait for it; the others have nothing to do with it.
func TestWindow_ARenewedCredentialIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.Linger = 0 })
	w.schedule.credential = func(_, stream string) string { return stream[:1] }
	w.add("r1/c", "g1/c", "r2/c")
	for range 2 {
		w.heard("g1", contactsync.Unauthorized)
	}
	refused := w.heard("r1", contactsync.Unauthorized)
	w.heard("r1", contactsync.Unauthorized)
	gone := w.heard("r2", contactsync.StreamGone)
	for _, st := range []*stream{refused, gone, w.schedule.stream("g1", "a")} {
		st.health.backoff, st.health.failures = w.now.Add(time.Hour), 12
		w.schedule.touch(st)
	}
	decisions{w.Window}.credentialRenewed(w.now, "a", "r")
	decisions{w.Window}.credentialRenewed(w.now, "b", "g")
	probe := w.Next(w.now)
	if probe == nil || probe.Batch.Stream != "r1" || probe.Batch.Purpose != contactsync.Probe || w.Next(w.now) != nil {
		t.Fatalf("a request of %+v, want a probe of the stream that was refused for this credential", probe)
	}
	decisions{w.Window}.credentialRenewed(w.now, "a", "r") // the probe was made before
	w.settle(probe, contactsync.Result{Kind: contactsync.Unauthorized})
	if wait := refused.health.backoff.Sub(w.now); wait <= 0 || wait > w.cfg.BackoffMin {
		t.Errorf("after a probe with the one before, the next is made in %v", wait)
	}
}

func TestWindow_ARenewedCredentialIsTriedForItsAccount(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.Linger = 0 })
	account := w.holdAccount()
	w.now = w.now.Add(time.Minute)
	account.probe, account.probes = w.now.Add(time.Hour), 12
	w.schedule.each(func(st *stream) {
		st.health.backoff = w.now.Add(time.Hour)
		w.schedule.touch(st)
	})
	if !account.held || w.Next(w.now) != nil {
		t.Fatal("the account is not on hold")
	}
	decisions{w.Window}.credentialRenewed(w.now, "a", "")
	if probe := w.Next(w.now); probe == nil || probe.Batch.Purpose != contactsync.Probe || w.Next(w.now) != nil {
		t.Fatalf("%+v, want one probe", probe)
	}
}
