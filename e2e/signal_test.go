//go:build e2e

package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestSecondSignal ends the service immediately although a request is in flight,
// and loses nothing by it.
func TestSecondSignal(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 1})
	r := newRun(t, cluster, runOptions{api: func(c *stub.Config) { c.Latency = 2500 * time.Millisecond }})
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams = 2_000, 1_000, 5 })
	p := r.start(1)[0]
	until(t, "a request", func() bool { return r.api.Stats().InFlight > 0 })
	for range 2 {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		// Two signals of one kind that are pending are one: the first must have arrived.
		until(t, "the stop to begin, or the end", func() bool {
			select {
			case <-p.gone:
				return true
			default:
				return contains(p.log, `"msg":"stopping"`)
			}
		})
	}
	<-p.gone
	p.ended = true
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d after a second SIGTERM, want 1", code)
	}
	if contains(p.log, `"msg":"stopped"`) {
		t.Error("the stop went its whole way although a second signal came")
	}
	next := r.start(1)
	r.drain()
	stopAll(next)
	r.verify(func(in *check.Input) { in.MaxDuplicates = 1_000 })
}
