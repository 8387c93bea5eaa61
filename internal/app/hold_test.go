package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestService_HoldsAStreamInSight has the API not know one of two streams of a
// partition, and then know it.
func TestService_HoldsAStreamInSight(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Config.Batcher.BackoffMin, l.Config.Batcher.HoldProbeMax = 20*time.Millisecond, 200*time.Millisecond
	if err := l.api.Put(stub.Rule{Name: "gone", Match: stub.Match{Streams: []string{"st-gone"}}, Answer: &stub.Answer{Status: 404}}); err != nil {
		t.Fatal(err)
	}
	replica := l.start()
	var events []event
	for i := range int64(20) {
		for _, stream := range []string{"st-gone", "st-good"} {
			events = append(events, event{stream: stream, id: fmt.Sprint("c", i%3), seq: i + 1, key: "one partition for all"})
		}
	}
	l.put(events...)
	l.until("the other stream to be delivered", func() bool {
		return len(l.api.State()["st-good"]) == 3 && l.api.State()["st-good"]["c1"] == 20
	})
	var page string
	l.until("/status to show the hold with all its contacts", func() bool {
		page = l.get(replica.Addr, "/status")
		return strings.Contains(page, `"stream_gone"`) && strings.Contains(page, `"contacts": 3`)
	})
	for _, want := range []string{`"stream": "st-gone"`, `"status": 404`, `"state": "ready"`, `"version": "lab"`} {
		if !strings.Contains(page, want) {
			t.Errorf("/status lacks %s:\n%s", want, page)
		}
	}
	if strings.Contains(page, "Oppenheimer") || strings.Contains(page, stub.LabSecret) {
		t.Errorf("I11: /status shows a contact field or a secret:\n%s", page)
	}
	l.until("the hold to be counted", func() bool { return replica.Series().Value("batcher_streams_on_hold") == 1 })
	if l.uncommitted() == 0 {
		t.Error("I2: everything is committed although a stream is held")
	}
	l.api.Turn("gone", false)
	l.drain()
	l.stop()
	l.verify(nil)
}
