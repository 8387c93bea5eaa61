package kafka

import (
	"context"
	"errors"

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
	return inner.Start(ctx)
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
