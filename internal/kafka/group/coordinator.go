package group

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"
)

// coordinator is what is known of the broker that coordinates the group, and how it
// is looked for.
type coordinator struct {
	*base
	address  string    // empty while it is not known
	proven   bool      // it has validated this member since it was found
	readyAt  time.Time // not to be asked before
	avoid    string    // the one that failed last
	failures int       // of coordinators in a row

	brokers []string             // that metadata has named
	good    string               // the broker that was last to know the coordinator
	silent  map[string]time.Time // brokers that did not answer, and until when others are asked in their stead
	tries   int
	unheard int // tries in a row without an answer
	findAt  time.Time

	probeAt    time.Time
	probeFails int
}

// ready reports whether the coordinator may be asked now.
func (c *coordinator) ready(now time.Time) bool { return c.address != "" && c.due(now, c.readyAt) }

// current reports whether a call went to the coordinator that is in office.
func (c *coordinator) current(k *call) bool { return c.address != "" && k.epoch == c.epoch }

// find looks for the coordinator: one broker after the other is asked, each for a
// time far below the session, so that a frozen one stops nobody.
func (c *coordinator) find(now time.Time) {
	if c.address != "" || !c.idle(kindFind) || !c.due(now, c.findAt) {
		return
	}
	list, all := c.candidates(now)
	c.send(now, kindFind, list[c.tries%len(list)], &findRequest{c.cfg.Group}, c.cfg.patient(c.unheard/all))
}

// candidates are the brokers to ask: first the one that knew it last, then those
// that metadata named and those of the settings; at the end the one that failed last.
// Those that have not answered are left out while there are others: each time that it
// is their turn costs as much as it takes to give them up. all is how many brokers are known.
func (c *coordinator) candidates(now time.Time) (list []string, all int) {
	var silent []string
	add := func(b string) {
		switch {
		case b == "" || slices.Contains(list, b) || slices.Contains(silent, b):
		case now.Before(c.silent[b]):
			silent = append(silent, b)
		default:
			list = append(list, b)
		}
	}
	for _, b := range slices.Concat([]string{c.good}, c.brokers, c.cfg.Brokers) {
		if b != c.avoid {
			add(b)
		}
	}
	add(c.avoid)
	all = len(list) + len(silent)
	if len(list) == 0 {
		list = silent
	}
	return list, all
}

// heard notes whether a broker has answered a question that any broker answers.
func (c *coordinator) heard(now time.Time, k *call, err error) {
	if err != nil {
		c.silent[k.to] = now.Add(c.cfg.Session)
	} else {
		delete(c.silent, k.to)
	}
}

func (c *coordinator) onFind(now time.Time, k *call, res response, err error) {
	c.tries++
	c.heard(now, k, err)
	if err == nil {
		c.unheard = 0
		f := res.(*findResponse)
		switch {
		case f.code == codeOK && f.host != "" && f.port > 0:
			c.good = k.to
			c.found(now, addressOf(f.host, f.port))
			return
		case f.code == codeOK, f.code == codeLoading, f.code == codeNotAvailable, f.code == codeNotCoordinator:
			err = fmt.Errorf("broker %s: %w", k.to, codeNotAvailable)
			c.findAt = now.Add(c.backoff(c.tries, firstRetry, lastRetry))
		default:
			err = fmt.Errorf("broker %s: %w", k.to, f.code)
			c.findAt = now.Add(c.backoff(c.tries, firstFatal, lastFatal))
		}
	} else {
		c.unheard++
		if _, all := c.candidates(now); c.unheard%all == 0 {
			c.findAt = now.Add(c.backoff(c.unheard/all, firstRetry, lastRetry))
		}
	}
	c.trouble(fmt.Errorf("find the coordinator of group %q: %w", c.cfg.Group, err))
}

func addressOf(host string, port int32) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// found takes a coordinator. One that has just failed is given some time, but not
// after its first failure: a connection may have ended, and the broker lives.
func (c *coordinator) found(now time.Time, address string) {
	c.address, c.tries, c.readyAt = address, 0, now
	if address == c.avoid {
		c.readyAt = now.Add(c.backoff(c.failures-1, firstRetry, lastRetry))
	}
	c.probeFails, c.probeAt = 0, now.Add(c.cfg.short())
}

// drop gives the coordinator up.
func (c *coordinator) drop(now time.Time) {
	c.avoid, c.address = c.address, ""
	c.epoch++
	c.failures++
	c.proven = false
	c.findAt, c.tries, c.unheard = now, 0, 0
}

// works notes that the coordinator has done what a call asked for.
func (c *coordinator) works(k *call) {
	if c.current(k) {
		c.failures, c.avoid = 0, ""
	}
}

// probe asks the coordinator for itself while it holds a JoinGroup back, which it
// may do for minutes: only so can one that waits be told from one that is frozen.
// While SyncGroup is held back, heartbeats do that.
func (c *coordinator) probe(now time.Time) {
	if c.address == "" || !c.idle(kindProbe) || !c.due(now, c.probeAt) {
		return
	}
	c.probeAt = now.Add(c.cfg.short())
	c.send(now, kindProbe, c.address, &findRequest{c.cfg.Group}, c.cfg.short())
}

// onProbe reports whether the coordinator hangs.
func (c *coordinator) onProbe(k *call, err error) bool {
	if !c.current(k) {
		return false
	}
	if err == nil {
		c.probeFails = 0
		return false
	}
	c.trouble(fmt.Errorf("the coordinator of group %q, broker %s, does not answer: %w", c.cfg.Group, k.to, err))
	c.probeFails++
	return c.probeFails >= 2
}
