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
	cfg.Consumer.StallAfter = 300 * time.Millisecond
	release := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	addr, ran := l.run(ctx, cfg, app.Options{WrapAcker: func(a batcher.Acker) batcher.Acker { return blockingAcker{a, release} }})
	if page := l.get(addr, "/livez"); page != "ok\n" {
		t.Errorf("/livez says %q before there is work", page)
	}
	l.put(event{stream: "st-1", id: "a", seq: 1})
	const why = "the batcher's loop does not turn"
	l.until("/livez to fail", func() bool { return strings.Contains(l.get(addr, "/livez"), why) })
	if page := l.get(addr, "/status"); !strings.Contains(page, why) {
		t.Errorf("/status says %s", page)
	}
	close(release)
	l.until("/livez to recover", func() bool { return l.get(addr, "/livez") == "ok\n" })
	l.drain()
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	l.verify(nil)
}
