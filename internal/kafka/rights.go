package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"

	"github.com/contactsync/contactsync/internal/diagnose"
	"github.com/contactsync/contactsync/internal/setting"
)

// Need is what the service has to be allowed on a topic, or on its group.
type Need struct {
	Key         string // the setting that names it
	Topic       string
	Group       string // where it is no topic
	Read, Write bool   // each of them includes Describe
}

// The rights as bits of what Kafka answers.
const (
	readBit       = 1 << 3
	writeBit      = 1 << 4
	rightsUnknown = math.MinInt32
	rightsTry     = 5
)

// CheckRights asks Kafka what the service may do, and returns which rights are missing. It
// changes nothing. What cannot be told is a note.
func CheckRights(ctx context.Context, c *Client, needs []Need) (missing, notes []setting.Error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	for _, need := range needs {
		allowed, err := c.rights(ctx, need)
		what := fmt.Sprintf("topic %q", need.Topic)
		if need.Group != "" {
			what = fmt.Sprintf("group %q", need.Group)
		}
		grants := strings.Join(need.without(allowed), " and ")
		switch {
		case errors.Is(err, kafkago.GroupAuthorizationFailed), errors.Is(err, kafkago.TopicAuthorizationFailed):
			missing = append(missing, setting.Error{Key: need.Key, Problem: fmt.Sprintf("%s may not even be described: grant the service's user %s on it", what, grants)})
		case errors.Is(err, errOthersGroup):
			missing = append(missing, setting.Error{Key: need.Key, Problem: fmt.Sprintf("%s %v", what, err)})
		case errors.Is(err, ErrNoTopic):
			// It is told with the topics.
		case err != nil:
			notes = append(notes, setting.Error{Key: need.Key, Problem: fmt.Sprintf("the rights on %s cannot be asked for, so they were not checked: %v", what, err)})
		case allowed == rightsUnknown:
			notes = append(notes, setting.Error{Key: need.Key, Problem: fmt.Sprintf("the brokers do not tell the rights on %s, so they were not checked: it needs %s", what, grants)})
		case grants != "":
			missing = append(missing, setting.Error{Key: need.Key, Problem: fmt.Sprintf("grant the service's user %s on %s", grants, what)})
		}
	}
	return missing, notes
}

// without returns the needed rights that are not among the allowed ones.
func (n Need) without(allowed int32) (names []string) {
	if n.Read && (allowed == rightsUnknown || allowed&readBit == 0) {
		names = append(names, "READ")
	}
	if n.Write && (allowed == rightsUnknown || allowed&writeBit == 0) {
		names = append(names, "WRITE")
	}
	return names
}

// consumers is what members of a consumer group say that they are. Others are not let in beside those of another
// kind, and keep everybody else out.
const consumers = "consumer"

var errOthersGroup = errors.New("has members that are no consumers, as those of Kafka Connect, which let none in: name another group")

// rights returns what is allowed, as Kafka's bits.
func (c *Client) rights(ctx context.Context, need Need) (int32, error) {
	if need.Group == "" {
		m := &metadataMessage{topics: []string{need.Topic}, clientID: c.cfg.ClientID, rights: true}
		if _, err := c.client.Transport.RoundTrip(ctx, c.addr, m); err != nil {
			return 0, err
		}
		for _, t := range m.answer.Topics {
			if t.Name == need.Topic {
				return t.TopicAuthorizedOperations, unusable(t)
			}
		}
		return rightsUnknown, nil
	}
	retry := NewRetry()
	for tried := 1; ; tried++ {
		res, err := c.client.Transport.RoundTrip(ctx, c.addr, &describegroups.Request{Groups: []string{need.Group}, IncludeAuthorizedOperations: true})
		if err == nil {
			answer, ok := res.(*describegroups.Response)
			if !ok || len(answer.Groups) != 1 {
				return rightsUnknown, nil
			}
			found := answer.Groups[0]
			switch code := kafkago.Error(found.ErrorCode); {
			case code != 0:
				err = code
			case len(found.Members) > 0 && found.ProtocolType != consumers:
				return 0, errOthersGroup
			default:
				return found.AuthorizedOperations, nil
			}
		}
		// A coordinator may be moving, or the first group of the cluster be asked for.
		if code, is := errors.AsType[kafkago.Error](err); !is || !code.Temporary() || tried == rightsTry || !Sleep(ctx, retry.NextBackOff()) {
			return 0, err
		}
	}
}

// Explain says what is wrong with the settings where the brokers cannot be worked with, by
// the setting to change.
func Explain(ctx context.Context, c *Client, err error) setting.Error {
	at := func(key, format string, args ...any) setting.Error {
		return setting.Error{Key: key, Problem: fmt.Sprintf("%s (%v)", fmt.Sprintf(format, args...), err)}
	}
	switch {
	case errors.Is(err, kafkago.SASLAuthenticationFailed):
		return at("kafka.sasl.password_file", "the brokers refuse the login: correct user name, password or mechanism")
	case errors.Is(err, kafkago.UnsupportedSASLMechanism), errors.Is(err, kafkago.IllegalSASLState):
		return at("kafka.sasl.mechanism", "the brokers do not take this mechanism: name one that they do")
	}
	if !c.cfg.TLS.Enabled && c.speakTLS(ctx) {
		return at("kafka.tls.enabled", "the brokers speak TLS at this port: set it to true, or name a port without TLS")
	}
	if errors.Is(err, errHandshake) && diagnose.Closed(err) {
		return at("kafka.brokers", "the port does not answer a TLS handshake: name the one that speaks TLS, or set kafka.tls.enabled to false")
	}
	key, problem, ok := diagnose.Connection(err, diagnose.Settings{Host: "kafka.brokers", CA: "kafka.tls.ca_file", Cert: "kafka.tls.cert_file"})
	if c.cfg.TLS.Enabled && c.cfg.SASL.Mechanism != "" && diagnose.Closed(err) {
		return at("kafka.sasl.mechanism", "the brokers close the connection at the login: correct mechanism, user name or password")
	}
	if !ok {
		return setting.Error{Key: "kafka.brokers", Problem: err.Error()}
	}
	return at(key, "%s", problem)
}

// speakTLS reports whether any broker of the settings answers a TLS handshake.
func (c *Client) speakTLS(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	for _, address := range c.cfg.Brokers {
		if _, _, err := net.SplitHostPort(address); err == nil && diagnose.SpeaksTLS(ctx, address) {
			return true
		}
	}
	return false
}
