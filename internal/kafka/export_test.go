package kafka

import (
	"context"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// The ways into the cluster, for tests that look behind the package's own calls.

func (c *Client) Dialer() *kafkago.Dialer { return dialer(c, c.identity.Load()) }
func (c *Client) Raw() *kafkago.Client    { return c.client }

// Renewals returns a check of the connections, for tests that decide when it is made.
func Renewals(c *Client) func(ctx context.Context, now time.Time) {
	r := newRenewal(c)
	r.transports, r.files = c.renewal.transports, c.renewal.files
	if told := c.renewal.unusable.Load(); told != nil {
		r.unusable.Store(told)
	}
	return func(ctx context.Context, now time.Time) {
		r.refused.Store(c.renewal.refused.Load())
		r.check(ctx, now)
	}
}

// Ended is closed when nothing of the membership runs any more.
func (g *Group) Ended() <-chan struct{} { return g.inner.Ended() }

const RefusalPause, RenewalPause = refusalPause, renewalPause

// Exchange asks a broker as the membership does.
func Exchange(ctx context.Context, c *Client, address string) error {
	e := newExchanger(c)
	defer e.close()
	_, err := e.Exchange(ctx, address, nil)
	return err
}
