package app_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/harness"
)

// TestService_ReplicasShareTheBudget is I7 over two replicas: by the partitions that
// they own, and all of it is one replica's when the other has gone.
func TestService_ReplicasShareTheBudget(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Config.Upstream.Accounts[0] = l.Account("acme", l.api, 60, time.Minute, "st-*")
	share := func(r *harness.Replica) float64 {
		var status struct {
			Gates map[string]struct{ Share float64 }
		}
		if err := json.Unmarshal([]byte(l.get(r.Addr, "/status")), &status); err != nil {
			t.Fatal(err)
		}
		return status.Gates["acme"].Share
	}
	first := l.start()
	l.until("the only replica to have it all", func() bool { return share(first) == 60 })
	second := l.start()
	l.until("both to share three partitions", func() bool {
		a, b := share(first), share(second)
		return min(a, b) == 20 && max(a, b) == 40
	})
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	l.until("the first to have it all again", func() bool { return share(first) == 60 })
	l.stop()
}
