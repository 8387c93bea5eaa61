package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/contactsync/contactsync/internal/crash"
	"github.com/contactsync/contactsync/internal/kafka/group"
)

// call is one API in the versions that the service may send, in rising order.
// Of these kafka-go sends the highest that is not above the broker's highest,
// and does not look at the broker's lowest.
type call struct {
	api      protocol.ApiKey
	versions []int16
}

// calls lists what is sent: by kafka-go from the lowest version that does what is
// needed up to kafka-go's highest, and by the membership.
func calls() []call {
	list := []call{
		upFrom(protocol.Produce, 3), // record batches with headers
		between(protocol.Fetch, fetchVersion, fetchVersion),
		upFrom(protocol.ListOffsets, 1), // one offset an answer
		upFrom(protocol.Metadata, 4),    // auto-creation can be forbidden
		between(protocol.Metadata, metadataVersion, metadataVersion),
		{protocol.ApiVersions, []int16{0}},
	}
	for _, a := range group.APIs() {
		list = append(list, between(protocol.ApiKey(a.Key), a.Min, a.Max))
	}
	return list
}

func upFrom(api protocol.ApiKey, lowest int16) call { return between(api, lowest, api.MaxVersion()) }

func between(api protocol.ApiKey, lowest, highest int16) call {
	var versions []int16
	for v := lowest; v <= highest; v++ {
		versions = append(versions, v)
	}
	return call{api, versions}
}

// problem returns why a broker cannot take the call, or the empty string.
func (c call) problem(offered []kafkago.ApiVersion) string {
	i := slices.IndexFunc(offered, func(v kafkago.ApiVersion) bool { return v.ApiKey == int16(c.api) })
	if i < 0 {
		return fmt.Sprintf("does not offer %v (API key %d)", c.api, int(c.api))
	}
	sent := int16(-1)
	for _, v := range c.versions {
		if v <= offered[i].MaxVersion {
			sent = v
		}
	}
	if sent >= 0 && sent >= offered[i].MinVersion {
		return ""
	}
	return fmt.Sprintf("takes %v (API key %d) in versions %d to %d, but this service sends %s",
		c.api, int(c.api), offered[i].MinVersion, offered[i].MaxVersion, c.sends())
}

func (c call) sends() string {
	first, last := c.versions[0], c.versions[len(c.versions)-1]
	switch {
	case first == last:
		return strconv.Itoa(int(first))
	case int(last-first) == len(c.versions)-1:
		return fmt.Sprintf("%d to %d", first, last)
	default:
		return fmt.Sprint(c.versions)
	}
}

// CheckVersions asks every broker which versions of the protocol it takes and
// compares both ends with what this service sends. kafka-go looks at the upper
// end only, so that a broker that has dropped old versions would fail somewhere
// in the middle of the work.
//
// It returns an error for each broker that cannot be worked with, joined, and an
// error if no broker answers. Others that do not answer are logged and left out:
// one may be restarting.
func (c *Client) CheckVersions(ctx context.Context) error {
	as := c.identity.Load()
	if err := checkBootstrap(ctx, c, as); err != nil {
		return err
	}
	meta, err := c.client.Metadata(ctx, &kafkago.MetadataRequest{})
	if err != nil {
		return fmt.Errorf("ask kafka for its brokers: %w", err)
	}
	errs := make([]error, len(meta.Brokers))
	var asked sync.WaitGroup
	for i, b := range meta.Brokers {
		asked.Go(func() {
			defer crash.Exit()
			address := net.JoinHostPort(b.Host, strconv.Itoa(b.Port))
			offered, err := apiVersions(ctx, c, as, address)
			if err != nil {
				c.log.Warn("broker does not answer; its protocol versions are unknown", "broker", address, "err", err)
				return
			}
			errs[i] = checkOffered(address, offered)
		})
	}
	asked.Wait()
	return errors.Join(errs...)
}

// checkBootstrap connects to the configured brokers until one answers, and checks it: without the
// versions of one, even the list of brokers could not be asked for.
func checkBootstrap(ctx context.Context, c *Client, as *identity) error {
	type broker struct {
		address string
		offered []kafkago.ApiVersion
	}
	b, err := firstAnswer(ctx, c.cfg.Brokers, func(ctx context.Context, address string) (broker, error) {
		offered, err := apiVersions(ctx, c, as, address)
		return broker{address, offered}, err
	})
	if err != nil {
		return fmt.Errorf("no broker answers: check brokers, tls and sasl: %w", err)
	}
	return checkOffered(b.address, b.offered)
}

func checkOffered(address string, offered []kafkago.ApiVersion) error {
	var errs []error
	for _, c := range calls() {
		if problem := c.problem(offered); problem != "" {
			errs = append(errs, fmt.Errorf("broker %s %s", address, problem))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w\nuse brokers that take these versions, or a release of this service made for the brokers", errors.Join(errs...))
}

// apiVersions asks one broker on a connection of its own.
func apiVersions(ctx context.Context, c *Client, as *identity, address string) ([]kafkago.ApiVersion, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel() // and close the connection: the answer is in, or the error is
	d := dialer(c, as)
	d.DialFunc = func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := c.dial(dialing, as, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // also while kafka-go logs in
		}
		return conn, err
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ask broker %s for its protocol versions: %w", address, err)
	}
	offered, err := conn.ApiVersions()
	if err != nil {
		return nil, fmt.Errorf("ask broker %s for its protocol versions: %w", address, err)
	}
	return offered, nil
}
