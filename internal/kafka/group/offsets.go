package group

import (
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// offsets are the commits and fetches that the owner has asked for.
type offsets struct {
	*base
	queue  []ask
	ticket int
}

// ask is one of them.
type ask struct {
	ticket  int // 0 for none
	number  int32
	kind    kind
	offsets []Offset // in the order of topics and partitions
	refused []Offset // of topics that were recreated
	until   time.Time
}

// Commit commits offsets of an assignment, until a deadline. The outcome is a Done
// with the ticket that it returns. Commits are sent one after the other.
func (m *Member) Commit(number int32, offsets []Offset, until time.Time) (ticket int) {
	return m.offsets.add(kindCommit, number, offsets, until)
}

// Fetch asks for the committed offsets of partitions of an assignment.
func (m *Member) Fetch(number int32, parts []contactsync.TopicPartition, until time.Time) (ticket int) {
	offsets := make([]Offset, len(parts))
	for i, p := range parts {
		offsets[i] = Offset{TopicPartition: p}
	}
	return m.offsets.add(kindFetch, number, offsets, until)
}

func (o *offsets) add(k kind, number int32, offsets []Offset, until time.Time) int {
	o.ticket++
	offsets = slices.Clone(offsets)
	slices.SortFunc(offsets, func(a, b Offset) int { return comparePartitions(a.TopicPartition, b.TopicPartition) })
	o.queue = append(o.queue, ask{ticket: o.ticket, number: number, kind: k, offsets: offsets, until: until})
	return o.ticket
}

// serve sends what the owner has asked for, and ends what cannot be sent in time
// or belongs to an assignment that is over: it must not pass for one of the next.
func (o *offsets) serve(now time.Time, h *holding, to *coordinator) {
	o.queue = slices.DeleteFunc(o.queue, func(a ask) bool {
		switch {
		case h == nil || h.number != a.number || h.lost:
			o.finish(a, ErrNotOwned)
		case o.due(now, a.until):
			o.finish(a, fmt.Errorf("%w: it was not found in time", ErrRetry))
		case !o.idle(a.kind) || !to.ready(now):
			return false
		default:
			h.admit(&a)
			o.ask(now, a, to.address)
		}
		return true
	})
}

func (o *offsets) ask(now time.Time, a ask, to string) {
	var req request = &fetchRequest{o.cfg.Group, a.offsets}
	if a.kind == kindCommit {
		if len(a.offsets) == 0 {
			o.finish(a, nil)
			return
		}
		req = &commitRequest{group: o.cfg.Group, member: o.id.member, instance: o.cfg.InstanceID, generation: o.id.generation, offsets: a.offsets}
	}
	o.send(now, a.kind, to, req, min(o.cfg.long(), a.until.Sub(now))).ask = a
}

// finish is the outcome of an ask.
func (o *offsets) finish(a ask, err error) {
	d := Done{Ticket: a.ticket, Err: err}
	if err == nil {
		d.Offsets = append(a.offsets, a.refused...)
	}
	o.emit(d)
}

// end finishes all that is asked for.
func (o *offsets) end() {
	for _, c := range o.calls {
		if c.ask.ticket != 0 {
			o.finish(c.ask, ErrNotOwned)
		}
	}
	for _, a := range o.queue {
		o.finish(a, ErrNotOwned)
	}
	o.queue = nil
}

// answered finishes an ask that was answered. It returns the code that is about the
// group, and whether the coordinator has validated the member for it.
func (o *offsets) answered(a ask, res response) (what string, code Code, validated bool) {
	switch r := res.(type) {
	case *commitResponse:
		what = "commit of offsets"
		a.take(r.results)
	case *fetchResponse:
		what, code = "fetch of offsets", r.code
		a.take(r.offsets)
	}
	for _, o := range a.offsets {
		validated = validated || a.kind == kindCommit && o.Code == codeOK
		if code == codeOK || slices.Contains(severity, code) {
			code = worse(code, o.Code)
		}
	}
	switch code {
	case codeOK:
		o.finish(a, nil)
	case codeFencedInstance, codeUnknownMember, codeIllegalGeneration, codeRebalance:
		o.finish(a, fmt.Errorf("%w: %s of group %q: %w", ErrNotOwned, what, o.cfg.Group, code))
	default:
		o.finish(a, fmt.Errorf("%w: %s of group %q: %w", ErrRetry, what, o.cfg.Group, code))
	}
	return what, code, validated
}

// severity orders the codes that are about the group, not about one offset.
var severity = []Code{
	codeOK, codeLoading, CodeGroupForbidden, codeRequestTimedOut, codeNotAvailable, codeNotCoordinator,
	codeRebalance, codeIllegalGeneration, codeUnknownMember, codeFencedInstance,
}

func worse(a, b Code) Code {
	if slices.Index(severity, b) > slices.Index(severity, a) {
		return b
	}
	return a
}

// take fills in what the answer says of each offset. One that it leaves out has
// failed.
func (a *ask) take(results []Offset) {
	names := map[TopicID]string{}
	for _, o := range a.offsets {
		names[o.TopicID] = o.Topic
	}
	by := map[contactsync.TopicPartition]Offset{}
	for _, r := range results {
		if r.Topic == "" {
			r.Topic = names[r.TopicID]
		}
		by[r.TopicPartition] = r
	}
	for i := range a.offsets {
		o := &a.offsets[i]
		r, ok := by[o.TopicPartition]
		switch {
		case !ok:
			o.Code = -1
		case a.kind == kindCommit:
			o.Code = r.Code
		default:
			o.Offset, o.LeaderEpoch, o.Metadata, o.Code = r.Offset, r.LeaderEpoch, r.Metadata, r.Code
		}
	}
}

func (m *Member) onAsk(now time.Time, c *call, res response, err error) {
	if err != nil {
		m.offsets.finish(c.ask, fmt.Errorf("%w: %w", ErrRetry, err))
		if c.ask.until.Sub(c.sent) >= m.cfg.short() { // else it was the owner who could not wait
			m.drop(now, c)
		}
		return
	}
	what, code, validated := m.offsets.answered(c.ask, res)
	if c.by != m.id || !m.coordinator.current(c) {
		return
	}
	if validated {
		m.validated(c, false)
	}
	switch code {
	case codeOK, codeLoading:
	case codeRebalance:
		m.rejoin(now, ErrRejoin)
	default:
		m.refused(now, c, what, code)
	}
}
