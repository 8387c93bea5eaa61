package group

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"
)

// find looks for the coordinator: one broker after the other is asked, each for a
// time far below the session, so that a frozen one stops nobody.
func (m *Member) find(now time.Time) {
	if m.coordinator != "" || m.after == phaseOut || m.phase == phaseOut || m.phase == phaseDone || !m.idle(kindFind) || !m.due(now, m.findAt) {
		return
	}
	list := m.candidates()
	round := m.findTries / len(list)
	// Where every broker is slow, each round waits twice as long.
	timeout := min(m.cfg.short()<<min(round, 8), m.cfg.long())
	m.send(now, kindFind, list[m.findTries%len(list)], &findRequest{m.cfg.Group}, timeout)
}

// candidates are the brokers to ask: first the one that knew it last, then those
// that metadata named and those of the settings; at the end the one that failed last.
func (m *Member) candidates() []string {
	var list []string
	for _, b := range slices.Concat([]string{m.good}, m.brokers, m.cfg.Brokers) {
		if b != "" && b != m.avoid && !slices.Contains(list, b) {
			list = append(list, b)
		}
	}
	if m.avoid != "" || len(list) == 0 {
		list = append(list, m.avoid)
	}
	return list
}

func (m *Member) onFind(now time.Time, c *call, res response, err error) {
	m.findTries++
	if err == nil {
		f := res.(*findResponse)
		switch {
		case f.code == codeOK && f.host != "" && f.port > 0:
			m.good = c.to
			m.found(now, addressOf(f.host, f.port))
			return
		case f.code == codeOK, f.code == codeLoading, f.code == codeNotAvailable, f.code == codeNotCoordinator:
			err = fmt.Errorf("broker %s: %w", c.to, codeNotAvailable)
			m.findAt = now.Add(m.backoff(m.findTries, firstRetry, lastRetry))
		default:
			err = fmt.Errorf("broker %s: %w", c.to, f.code)
			m.findAt = now.Add(m.backoff(m.findTries, firstFatal, lastFatal))
		}
	} else if n := len(m.candidates()); m.findTries%n == 0 {
		m.findAt = now.Add(m.backoff(m.findTries/n, firstRetry, lastRetry))
	}
	m.trouble(fmt.Errorf("find the coordinator of group %q: %w", m.cfg.Group, err))
}

func addressOf(host string, port int32) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// found takes a coordinator. One that has just failed is given some time, but not
// after its first failure: a connection may have ended, and the broker lives.
func (m *Member) found(now time.Time, address string) {
	m.coordinator, m.findTries, m.probeFails = address, 0, 0
	m.coordinatorAt = now
	if address == m.avoid {
		m.coordinatorAt = now.Add(m.backoff(m.failures-1, firstRetry, lastRetry))
	}
	m.beatAt, m.proveAt, m.syncAt = now, now, now
	m.probeAt = now.Add(m.cfg.short())
}

// ready reports whether the coordinator may be asked now.
func (m *Member) ready(now time.Time) bool {
	return m.coordinator != "" && m.due(now, m.coordinatorAt)
}

// drop gives the coordinator up that a call went to. The assignment stays: another
// coordinator, or the same one, goes on with it. What was asked of it and is not
// answered yet is asked again of the next one.
func (m *Member) drop(now time.Time, c *call) {
	if c.epoch != m.epoch || m.coordinator == "" {
		return
	}
	if !m.idle(kindJoin) {
		m.giveUp(now, m.calls[m.lanes[kindJoin]])
	}
	for _, k := range []kind{kindProbe, kindJoin, kindSync, kindProof, kindBeat, kindDescribe} {
		m.lanes[k] = 0
	}
	m.avoid, m.coordinator = m.coordinator, ""
	m.epoch++
	m.failures++
	m.proven = false
	m.findAt, m.findTries = now, 0
}

// answered notes that the coordinator does its work.
func (m *Member) answered(c *call) {
	if c.epoch == m.epoch {
		m.failures, m.avoid = 0, ""
	}
}

// probe asks the coordinator for itself while it holds a JoinGroup back, which it
// may do for minutes: only so can one that waits be told from one that is frozen.
// While SyncGroup is held back, heartbeats do that.
func (m *Member) probe(now time.Time) {
	if m.phase != phaseJoin || m.idle(kindJoin) || !m.idle(kindProbe) || m.coordinator == "" || !m.due(now, m.probeAt) {
		return
	}
	m.probeAt = now.Add(m.cfg.short())
	m.send(now, kindProbe, m.coordinator, &findRequest{m.cfg.Group}, m.cfg.short())
}

func (m *Member) onProbe(now time.Time, c *call, err error) {
	if c.epoch != m.epoch {
		return
	}
	if err == nil {
		m.probeFails = 0
		return
	}
	if m.probeFails++; m.probeFails >= 2 {
		m.trouble(fmt.Errorf("the coordinator of group %q, broker %s, does not answer: %w", m.cfg.Group, c.to, err))
		m.drop(now, c)
	}
}
