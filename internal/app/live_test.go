package app_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/app"
)

// blockingAcker blocks the loop that reports to it.
type blockingAcker struct {
	batcher.Acker
	blocked, release chan struct{}
}

func (a blockingAcker) Done(ended []contactsync.Ended) {
	select {
	case a.blocked <- struct{}{}:
	default:
	}
	<-a.release
	a.Acker.Done(ended)
}

// TestService_StuckLoopShows: a restart would help, so /livez fails, and /status does
// not wait for the loop.
func TestService_StuckLoopShows(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg := l.Config
	cfg.Consumer.StallAfter = time.Second
	release := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	addr, ran := l.run(ctx, cfg, app.Options{WrapAcker: func(a batcher.Acker) batcher.Acker { return blockingAcker{a, nil, release} }})
	if page := l.get(addr, "/livez"); page != "ok\n" {
		t.Errorf("/livez says %q before there is work", page)
	}
	l.put(event{stream: "st-1", id: "a", seq: 1})
	const why = "the batcher's loop does not turn"
	// Both, because on a busy machine the loop may seem stuck for a moment before it is.
	l.until("/livez and /status to say why", func() bool {
		return strings.Contains(l.get(addr, "/livez"), why) && strings.Contains(l.get(addr, "/status"), why)
	})
	close(release)
	l.until("/livez to recover", func() bool { return l.get(addr, "/livez") == "ok\n" })
	l.drain()
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	l.verify(nil)
}

// A status that is asked for while the loop hangs, before that counts as stuck, says so, and so do those behind it: a page
// that was open before asks once a second.
func TestService_StatusWaitsForNoLoop(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg := l.Config
	cfg.Consumer.StallAfter = time.Hour
	release, blocked := make(chan struct{}), make(chan struct{}, 1)
	ctx, stop := context.WithCancel(t.Context())
	addr, ran := l.run(ctx, cfg, app.Options{WrapAcker: func(a batcher.Acker) batcher.Acker {
		return blockingAcker{a, blocked, release}
	}})
	l.put(event{stream: "st-1", id: "a", seq: 1})
	<-blocked
	for range 2 {
		if page := l.get(addr, "/status"); !strings.Contains(page, "the batcher's loop has not answered") {
			t.Errorf("/status says %s", page)
		}
	}
	close(release)
	l.until("/status to recover", func() bool { return !strings.Contains(l.get(addr, "/status"), "has not answered") })
	l.drain()
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	l.verify(nil)
}
