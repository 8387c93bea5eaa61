package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// mostRequestsRemembered bounds the requests that are remembered after they were answered: at
// 60 a minute, those of a quarter of an hour, in less than half a megabyte.
const mostRequestsRemembered = 1024

// history is what became of the last requests. It is written once for each of them, and read
// when somebody asks about a contact.
type history struct {
	started uint32 // requests so far: the number of the last one
	past    []answered
	next    int // of past, to be written over once that is full
}

// answered is a request that has its answer, or was given up.
type answered struct {
	number  uint32
	rows    int32
	status  int32
	purpose contactsync.Purpose
	kind    contactsync.Kind
	started time.Time
	took    time.Duration
	detail  string
}

// start numbers a request and the rows that it carries.
func (h *history) start(req *Request) {
	h.started++
	req.number = h.started
	for _, c := range req.rows {
		c.request = req.number
	}
}

// settle remembers what became of it.
func (h *history) settle(now time.Time, req *Request, r contactsync.Result) {
	a := answered{
		number: req.number, rows: int32(len(req.rows)), status: int32(r.Status), purpose: req.Batch.Purpose, kind: r.Kind,
		started: req.started, took: now.Sub(req.started), detail: r.Detail,
	}
	if len(h.past) < mostRequestsRemembered {
		h.past = append(h.past, a)
		return
	}
	h.past[h.next] = a
	h.next = (h.next + 1) % mostRequestsRemembered
}

// find returns a request that was answered, and nil where it is not remembered any more.
func (h *history) find(number uint32) *answered {
	i := slices.IndexFunc(h.past, func(a answered) bool { return a.number == number })
	if i < 0 {
		return nil
	}
	return &h.past[i]
}
