package kafka

import kafkago "github.com/segmentio/kafka-go"

// The ways into the cluster, for tests that look behind the package's own calls.

func (c *Client) Dialer() *kafkago.Dialer { return c.dialer() }
func (c *Client) Raw() *kafkago.Client    { return c.client }
