package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestService_AHoldLeavesRoomForOthers has the API not know a stream with more contacts than
// the window has room for, in all partitions. The others go on meanwhile, and once the API
// knows it everything of it arrives, in order and once.
func TestService_AHoldLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	const contacts = 3000
	l := newLab(t)
	b := &l.Config.Batcher
	b.MaxBytes, b.WindowBytes = 64<<10, 1<<20
	b.BackoffMin, b.HoldProbeMax = 20*time.Millisecond, 200*time.Millisecond
	if err := l.api.Put(stub.Rule{Name: "gone", Match: stub.Match{Streams: []string{"st-gone"}}, Answer: &stub.Answer{Status: 404}}); err != nil {
		t.Fatal(err)
	}
	var events []event
	for seq := range int64(2) {
		for i := range contacts {
			events = append(events, event{stream: "st-gone", id: fmt.Sprint("c", i), seq: seq + 1})
		}
	}
	for i := range 30 {
		events = append(events, event{stream: "st-good", id: fmt.Sprint("c", i), seq: 1})
	}
	l.put(events...)
	replica := l.start()
	good := func(seq int64) func() bool {
		return func() bool {
			n := 0
			for _, s := range l.api.State()["st-good"] {
				if s == seq {
					n++
				}
			}
			return n == 30
		}
	}
	l.until("the other stream, which lies behind it in each partition", good(1))
	events = nil
	for i := range 30 {
		events = append(events, event{stream: "st-good", id: fmt.Sprint("c", i), seq: 2}, event{stream: "st-gone", id: fmt.Sprint("c", i), seq: 3})
	}
	l.put(events...)
	l.until("what comes of it later", good(2))
	l.until("/status and the series to show what is left to be read again", func() bool {
		page := l.get(replica.Addr, "/status")
		return strings.Contains(page, `"parked": `) && replica.Series().Value("consumer_parked_records") > contacts
	})
	if !l.logged("what is on hold has its part of the window", "st-gone") {
		t.Error("the log does not say so")
	}
	l.api.Turn("gone", false)
	l.drain()
	if n := len(l.api.State()["st-gone"]); n != contacts {
		t.Errorf("%d contacts have arrived, want %d", n, contacts)
	}
	if n := replica.Series().Value("consumer_parked_records"); n != 0 {
		t.Errorf("%v records are still to be read again", n)
	}
	l.stop()
	l.verify(nil)
}
