package app_test

import (
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/feed"
)

// TestService_WhatIsAskedForStaysBounded has events of many streams wait in 200 partitions: a
// partition has its few series, and neither a scrape nor the status grows with the streams.
func TestService_WhatIsAskedForStaysBounded(t *testing.T) { // alone: 200 readers leave others little
	const partitions, streams = 200, 5000
	l := newLabOf(t, partitions)
	l.api.Suspend() // so everything waits
	replica := l.start()
	size := func() (series, bytes int) {
		text := l.get(replica.Addr, "/metrics")
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "#") {
				series++
			}
		}
		return series, len(text)
	}
	cfg := feed.DefaultConfig()
	cfg.Streams, cfg.Contacts, cfg.Events, cfg.InTurn = streams, streams, streams, true
	l.until("all partitions to be read", func() bool {
		s := replica.Series()
		return s.Value("consumer_assigned_partitions") == partitions && s.Value("consumer_catching_up_partitions") == 0
	})
	if _, err := l.Produce(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	l.until("all streams", func() bool { return replica.Series().Value("batcher_active_streams") == streams })
	series, bytes := size()
	if most := 600 + 17*partitions; series > most || bytes > 120*most {
		t.Errorf("a scrape has %d series in %d bytes, want at most %d of 120 bytes", series, bytes, most)
	}
	status := len(l.get(replica.Addr, "/api/status"))
	if most := 30<<10 + 400*partitions; status > most {
		t.Errorf("the status has %d bytes, want at most %d", status, most)
	}
	t.Logf("%d streams, %d partitions: a scrape has %d series in %d bytes, the status %d bytes", streams, partitions, series, bytes, status)
}
