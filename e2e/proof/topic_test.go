//go:build proof

package proof

import (
	"sync"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

// topic has the service read what lies in two partitions at its own pace, as the consumer does: a full window stops
// it, and what was left is read again.
type topic struct {
	*bubble
	arrived  [2]chan contactsync.Record
	decoders [2]*event.Decoder
	readers  sync.WaitGroup
	reread   [2]map[int64]int // how often each offset was handed over again
}

// fetchWait is how long a fetch of new events waits for some.
const fetchWait = 500 * time.Millisecond

// fetchEvents is how many events are read again in that time: what a fetch holds, of small ones.
const fetchEvents = 4096

// newTopic begins to read. It must be closed.
func newTopic(b *bubble) *topic {
	t := &topic{bubble: b}
	for p := range t.arrived {
		decoder, err := event.NewDecoder(config.DefaultConfig().Event, b.client.Route) // it is not safe for concurrent use
		must(b.t, err)
		t.decoders[p], t.reread[p] = decoder, map[int64]int{}
		t.arrived[p] = make(chan contactsync.Record, 1<<16)
		t.readers.Go(func() { t.read(int32(p)) })
	}
	return t
}

// write adds an event to a partition.
func (t *topic) write(partition int32, ev feed.Event) {
	t.arrived[partition] <- t.append(partition, ev)
}

func (t *topic) close() {
	for _, arrived := range t.arrived {
		close(arrived)
	}
	t.readers.Wait()
}

// read reads a partition until the topic is closed. The same goroutine takes turns between new events and those that
// are read again.
func (t *topic) read(partition int32) {
	var pass int
	var next, end int64 // to be read again, and anew
	for {
		next, pass = t.readAgain(partition, pass, next, end)
		select {
		case rec, more := <-t.arrived[partition]:
			if !more {
				return
			}
			if t.batcher.Add(t.t.Context(), []event.Event{t.decoders[partition].Decode(rec)}) != nil {
				return
			}
			end = rec.Offset + 1
		case <-time.After(fetchWait):
		}
	}
}

// readAgain reads a few of the events again that were left, from an offset on in a pass, and returns where it is then.
func (t *topic) readAgain(partition int32, pass int, next, end int64) (int64, int) {
	if t.left(partition) == 0 && pass == 0 {
		return 0, 0
	}
	now := t.batcher.ReadAgain(t.claim(partition))
	if now == 0 {
		return next, pass
	}
	if now != pass {
		pass, next = now, 0
	}
	var events []event.Event
	t.mu.Lock()
	for ; next < end && len(events) < fetchEvents; next++ {
		if t.parked[partition][next] {
			delete(t.parked[partition], next)
			t.reread[partition][next]++
			ev := t.decoders[partition].Decode(t.logs[partition][next])
			ev.Again = true
			events = append(events, ev)
		}
	}
	t.mu.Unlock()
	if len(events) > 0 && t.batcher.Add(t.t.Context(), events) != nil {
		return next, pass
	}
	if next >= end {
		t.batcher.ReadAgainDone(t.claim(partition), pass, 0)
		return 0, 0
	}
	return next, pass
}

// left is how many events of a partition are to be read again.
func (t *topic) left(partition int32) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.parked[partition])
}

// mostReread is how often an event of a partition was read again at most.
func (t *topic) mostReread(partition int32) (most int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.reread[partition] {
		most = max(most, n)
	}
	return most
}
