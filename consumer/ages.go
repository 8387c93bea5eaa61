package consumer

import (
	"sort"
	"sync"
	"time"

	"github.com/contactsync/contactsync/internal/event"
)

// ages knows when Kafka got what was read of a partition, so that the age of the first event
// that is not completed can be shown, however many were read behind it. One time an event
// would be too much where millions wait: the last ones have a mark each, those before them
// one for thinning events, and so on. What it says is exact for the last agesKept events, and
// else of an event before the one that is asked for by at most a 32nd of what was read behind that.
type ages struct {
	mu     sync.Mutex
	events int64
	levels [8][]ageMark // by offset; a mark for each thinning^level events
}

const (
	agesKept = 256
	thinning = 8
)

type ageMark struct{ offset, at int64 } // at is Kafka's timestamp in milliseconds

// read notes events that follow those that were read before.
func (a *ages) read(events []event.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range events {
		m := ageMark{events[i].Record.Offset, events[i].Record.Time.UnixMilli()}
		for level, every := 0, int64(1); level < len(a.levels) && a.events%every == 0; level, every = level+1, every*thinning {
			marks := a.levels[level]
			if len(marks) == 2*agesKept {
				marks = marks[:copy(marks, marks[agesKept:])]
			}
			a.levels[level] = append(marks, m)
		}
		a.events++
	}
}

// at returns the time of the event at an offset, or of one shortly before it; zero where
// that is not known.
func (a *ages) at(offset int64) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, marks := range a.levels {
		n := sort.Search(len(marks), func(i int) bool { return marks[i].offset > offset })
		if n == 0 {
			continue
		}
		if at := marks[n-1].at; at > 0 { // Kafka's for none is -1
			return time.UnixMilli(at)
		}
		break
	}
	return time.Time{}
}
