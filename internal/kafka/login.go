package kafka

import (
	"bytes"
	"context"
	"errors"
	"strconv"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// login is a mechanism that asks for the password at each login.
type login struct {
	SASL
	password func() string
}

// mechanism returns nil where there is no login.
func (s SASL) mechanism(password func() string) sasl.Mechanism {
	if s.Mechanism == "" {
		return nil
	}
	return login{s, password}
}

// Name is the mechanism's name on the wire.
func (l login) Name() string { return l.Mechanism }

// Start begins a login.
func (l login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	inner, err := l.with(l.password())
	if err != nil {
		return nil, nil, err
	}
	steps, first, err := inner.Start(ctx)
	return within{steps}, first, err
}

// maxIterations is far above the 16,384 that Kafka lets a user have. The library takes any number, and
// whoever answers in the place of a broker could keep a processor for an hour with each login.
const maxIterations = 200_000

var errIterations = errors.New("the broker asks for more rounds of hashing than Kafka allows: whoever answers there is no broker of yours")

// errChallenge is in place of the library's, which quotes what the broker has said.
var errChallenge = errors.New("the broker refuses the login, or what it answers does not belong to it")

// within are the steps of a login whose costs are bounded.
type within struct{ sasl.StateMachine }

// Next answers a challenge.
func (w within) Next(ctx context.Context, challenge []byte) (done bool, answer []byte, err error) {
	for field := range bytes.SplitSeq(challenge, []byte(",")) {
		rounds, is := bytes.CutPrefix(field, []byte("i="))
		if !is {
			continue
		}
		if n, err := strconv.Atoi(string(rounds)); err != nil || n > maxIterations {
			return false, nil, errIterations
		}
	}
	if done, answer, err = w.StateMachine.Next(ctx, challenge); err != nil {
		err = errChallenge
	}
	return done, answer, err
}

// with returns the mechanism with a password.
func (s SASL) with(password string) (inner sasl.Mechanism, err error) {
	switch s.Mechanism {
	case Plain:
		inner = plain.Mechanism{Username: s.Username, Password: password}
	case ScramSHA256:
		inner, err = scram.Mechanism(scram.SHA256, s.Username, password)
	default:
		inner, err = scram.Mechanism(scram.SHA512, s.Username, password)
	}
	if err != nil {
		// The library's error may quote what it could not prepare.
		return nil, errors.New("the user name or password has characters that SASL does not allow")
	}
	return inner, nil
}
