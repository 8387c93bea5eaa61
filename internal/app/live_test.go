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
	release chan struct{}
}

func (a blockingAcker) Done(ended []contactsync.Ended) {
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
	addr, ran := l.run(ctx, cfg, app.Options{WrapAcker: func(a batcher.Acker) batcher.Acker { return blockingAcker{a, release} }})
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
