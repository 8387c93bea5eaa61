//go:build proof

package proof

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestOutage_SmallWindow has 200 streams fail for hours, wholly or at random, while ten times as much arrives as the window holds: what
// does not fit is read again from Kafka a few times, nothing becomes a dead letter, and soon after its end all of it is delivered.
func TestOutage_SmallWindow(t *testing.T) {
	if testing.Short() { // as in playAll
		t.Skip("it computes much: make outage")
	}
	for _, tt := range []struct {
		share float64 // of the requests that fail
		most  int     // times that an event is read again meanwhile
	}{{1, 20}, {0.5, 80}, {0.7, 100}} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%.0f %%, seed %d", 100*tt.share, seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { playSmallWindow(t, tt.share, seed, tt.most) })
			})
		}
	}
}

const (
	smallStreams = 200
	smallFor     = 4 * time.Hour
)

func playSmallWindow(t *testing.T, share float64, seed uint64, mostReread int) {
	host := brokenAPI(t, stubAPI, []stub.Rule{{Name: "fault", Off: true, Share: share, Match: stub.Match{Streams: []string{"*"}}, Answer: &stub.Answer{Status: 500}}})
	r := newTopic(newBubble(t, host, func(cfg *config.Config) { cfg.Batcher.WindowBytes, cfg.Batcher.MaxBytes = 2<<20, 256<<10 }))
	defer r.close()
	random, n := rand.New(rand.NewPCG(seed, 2)), 0
	arrive := func(d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); n++ {
			r.write(0, healthyEvent(random.IntN(smallStreams), random.IntN(1000), n))
			time.Sleep(spread(random, time.Second))
		}
	}
	arrive(15 * time.Minute)
	host.Turn("fault", true)
	arrive(smallFor)
	host.Turn("fault", false)
	over, most := time.Now(), r.mostReread(0)
	arrive(30 * time.Minute)
	var drained time.Duration
	for _, e := range r.completed() {
		if e.opened.Before(over) {
			drained = max(drained, e.opened.Add(e.age).Sub(over))
		}
	}
	time.Sleep(time.Minute)
	t.Logf("%d events; one was read again %d times meanwhile, and %d times in all; what came before its end was delivered %v after it", n, most, r.mostReread(0), drained.Round(time.Second))
	if drained > outageBack || most > mostReread || r.bubble.left() > 0 || len(r.deadLetters()) > 0 {
		t.Errorf("that is late, or more often than %d times, or %d events are left, or there are %d dead letters", mostReread, r.bubble.left(), len(r.deadLetters()))
	}
}
