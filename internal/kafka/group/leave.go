package group

import (
	"fmt"
	"slices"
	"time"
)

// exit is the way out of the group: of this member, and of ids that it was given and does
// not use.
type exit struct {
	*base
	surplus []string  // ids that are not used: to be left, since the group waits for them
	by      time.Time // until when the coordinator is asked, where the member stops
	at      time.Time // not to be asked before
}

// leave sends LeaveGroup for this member once it stops, and at any time for ids that it
// does not use.
func (m *Member) leave(now time.Time) {
	ids := slices.Clone(m.exit.surplus)
	stops := m.phase == phaseLeave
	if stops && m.id.member != "" {
		ids = append(ids, m.id.member)
	}
	switch {
	case stops && m.due(now, m.exit.by):
		m.finish()
	case !m.idle(kindLeave):
	case len(ids) == 0:
		if stops && m.idle(kindJoin) { // else it may bring an id
			m.finish()
		}
	case m.coordinator.ready(now) && m.due(now, m.exit.at):
		req := &leaveRequest{group: m.cfg.Group}
		for _, id := range ids {
			req.members = append(req.members, leaver{member: id})
		}
		m.send(now, kindLeave, m.coordinator.address, req, m.cfg.short()).leaves = ids
	}
}

// take takes the answer to LeaveGroup. What it does not settle is asked again: a
// coordinator that does not know the group has taken nobody out of it. It reports whether
// the coordinator is to be given up.
func (e *exit) take(now time.Time, c *call, res response, err error) (drop bool) {
	if err != nil {
		return true
	}
	r := res.(*leaveResponse)
	for i, id := range c.leaves {
		code := r.code
		if code == codeOK && i < len(r.members) {
			code = r.members[i]
		}
		switch code {
		case codeNotAvailable, codeNotCoordinator:
			drop = true
			continue
		case codeLoading:
			e.at = now.Add(firstRetry)
			continue
		case codeOK, codeUnknownMember:
		default: // it is removed when its session ends
			e.trouble(fmt.Errorf("leave group %q: %w", e.cfg.Group, code))
		}
		e.surplus = slices.DeleteFunc(e.surplus, func(s string) bool { return s == id })
		if id == e.id.member {
			e.id.member = ""
		}
	}
	return drop
}
