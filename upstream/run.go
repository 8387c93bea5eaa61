package upstream

import (
	"context"
	"time"

	"github.com/contactsync/contactsync/internal/keyfile"
)

// updateGaugesEvery keeps the gauges of idle accounts current.
const updateGaugesEvery = time.Second

// Run takes up changed files of credentials and certificates, renews connections, and keeps
// the gauges of the gates current, until ctx ends.
func (c *Client) Run(ctx context.Context) {
	files := time.NewTicker(keyfile.Interval)
	defer files.Stop()
	gauges := time.NewTicker(updateGaugesEvery)
	defer gauges.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-files.C:
			c.readFiles(time.Now())
		case now := <-gauges.C:
			for _, a := range c.accounts {
				a.gate.updateGauges(now)
			}
		}
	}
}

// readFiles takes up what has changed of the files, except what is being written. A certificate of our own is a credential
// of every account.
func (c *Client) readFiles(now time.Time) {
	certificate := c.cfg.files().Files().Settled(now) && c.transport.renew(now)
	for id, a := range c.accounts {
		for app, tokens := range a.tokens {
			if tokens.cfg.files().Settled(now) && tokens.reload(now) || certificate {
				c.renewed(id, app)
			}
		}
	}
}
