package group

import (
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// ask is a commit or a fetch that the owner has asked for.
type ask struct {
	ticket  int
	number  int32
	kind    kind
	offsets []Offset // in the order of topics and partitions
	refused []Offset // of topics that were created again
	until   time.Time
}

// Commit commits offsets of an assignment, until a deadline. The outcome is a Done
// with the ticket that it returns. Commits are sent one after the other.
func (m *Member) Commit(number int32, offsets []Offset, until time.Time) (ticket int) {
	return m.ask(kindCommit, number, offsets, until)
}

// Fetch asks for the committed offsets of partitions of an assignment.
func (m *Member) Fetch(number int32, parts []contactsync.TopicPartition, until time.Time) (ticket int) {
	offsets := make([]Offset, len(parts))
	for i, p := range parts {
		offsets[i] = Offset{TopicPartition: p}
	}
	return m.ask(kindFetch, number, offsets, until)
}

func (m *Member) ask(k kind, number int32, offsets []Offset, until time.Time) int {
	m.ticket++
	offsets = slices.Clone(offsets)
	slices.SortFunc(offsets, func(a, b Offset) int { return comparePartitions(a.TopicPartition, b.TopicPartition) })
	m.asks = append(m.asks, ask{ticket: m.ticket, number: number, kind: k, offsets: offsets, until: until})
	return m.ticket
}

// serve sends what the owner has asked for, and ends what cannot be sent in time
// or belongs to an assignment that is over: it must not pass for one of the next.
func (m *Member) serve(now time.Time) {
	m.asks = slices.DeleteFunc(m.asks, func(a ask) bool {
		switch {
		case m.hold == nil || m.hold.number != a.number || m.hold.lost:
			m.finishAsk(a, ErrNotOwned)
		case m.due(now, a.until):
			m.finishAsk(a, fmt.Errorf("%w: it was not found in time", ErrRetry))
		case !m.idle(a.kind) || !m.ready(now):
			return false
		default:
			m.sendAsk(now, a)
		}
		return true
	})
}

func (m *Member) sendAsk(now time.Time, a ask) {
	timeout := min(m.cfg.long(), a.until.Sub(now))
	for i := range a.offsets {
		a.offsets[i].TopicID = m.hold.ids[a.offsets[i].Topic]
	}
	var req request
	if a.kind == kindCommit {
		a.offsets = slices.DeleteFunc(a.offsets, func(o Offset) bool {
			if !m.hold.suspect[o.Topic] && !m.hold.recreated[o.Topic] {
				return false
			}
			o.Code = codeUnknownTopicID
			a.refused = append(a.refused, o)
			return true
		})
		if len(a.offsets) == 0 {
			m.finishAsk(a, nil)
			return
		}
		req = &commitRequest{group: m.cfg.Group, member: m.id.member, instance: m.cfg.InstanceID, generation: m.id.generation, offsets: a.offsets}
	} else {
		req = &fetchRequest{m.cfg.Group, a.offsets}
	}
	m.send(now, a.kind, m.coordinator, req, timeout).ask = a
}

// finishAsk tells the owner the outcome.
func (m *Member) finishAsk(a ask, err error) {
	d := Done{Ticket: a.ticket, Err: err}
	if err == nil {
		d.Offsets = append(a.offsets, a.refused...)
	}
	m.events = append(m.events, d)
}

func (m *Member) onAsk(now time.Time, c *call, res response, err error) {
	if err != nil {
		m.finishAsk(c.ask, fmt.Errorf("%w: %w", ErrRetry, err))
		m.drop(now, c)
		return
	}
	what, whole := "commit of offsets", codeOK
	switch r := res.(type) {
	case *commitResponse:
		c.ask.take(r.results)
	case *fetchResponse:
		what, whole = "fetch of offsets", r.code
		c.ask.take(r.offsets)
	}
	validated, worst := false, codeOK
	for _, o := range c.ask.offsets {
		validated = validated || c.kind == kindCommit && o.Code == codeOK
		worst = worse(worst, o.Code)
	}
	if whole != codeOK {
		worst = whole
	}
	switch {
	case worst == codeFencedInstance, worst == codeUnknownMember, worst == codeIllegalGeneration, worst == codeRebalance:
		m.finishAsk(c.ask, fmt.Errorf("%w: %s of group %q: %w", ErrNotOwned, what, m.cfg.Group, worst))
	case worst != codeOK:
		m.finishAsk(c.ask, fmt.Errorf("%w: %s of group %q: %w", ErrRetry, what, m.cfg.Group, worst))
	default:
		m.finishAsk(c.ask, nil)
	}
	if c.by != m.id || c.epoch != m.epoch {
		return
	}
	if validated {
		m.answered(c)
		m.proven = true
		m.confirm(c.sent)
	}
	switch worst {
	case codeOK, codeLoading:
	case codeRebalance:
		m.rejoin(now, ErrRebalance)
	default:
		m.refused(now, c, what, worst)
	}
}

// severity orders the codes that are about the group, not about one offset.
var severity = []Code{
	codeOK, codeLoading, codeGroupForbidden, codeRequestTimedOut, codeNotAvailable, codeNotCoordinator,
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
