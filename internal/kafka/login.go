package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// login is a mechanism that reads the password at each login.
type login struct{ SASL }

// mechanism returns nil where there is no login.
func (s SASL) mechanism() sasl.Mechanism {
	if s.Mechanism == "" {
		return nil
	}
	return login{s}
}

// Name is the mechanism's name on the wire.
func (l login) Name() string { return l.Mechanism }

// Start reads the password file and begins a login with it.
func (l login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	content, err := readFile(l.PasswordFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read sasl.password_file: %w", err)
	}
	password := strings.TrimRight(string(content), "\r\n")
	if password == "" {
		return nil, nil, fmt.Errorf("read sasl.password_file %s: it is empty", l.PasswordFile)
	}
	var inner sasl.Mechanism
	switch l.Mechanism {
	case Plain:
		inner = plain.Mechanism{Username: l.Username, Password: password}
	case ScramSHA256:
		inner, err = scram.Mechanism(scram.SHA256, l.Username, password)
	case ScramSHA512:
		inner, err = scram.Mechanism(scram.SHA512, l.Username, password)
	default:
		return nil, nil, fmt.Errorf("sasl.mechanism %q is unknown", l.Mechanism)
	}
	if err != nil {
		// The library's error may quote what it could not prepare.
		return nil, nil, errors.New("log in with " + l.Mechanism + ": the user name or password has characters that SASL does not allow")
	}
	return inner.Start(ctx)
}
