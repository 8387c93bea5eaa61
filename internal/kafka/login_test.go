package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// What a broker writes is not in any error: it would be in the log with each attempt.
func TestLogin_RepeatsNothingOfABroker(t *testing.T) {
	t.Parallel()
	m := SASL{Mechanism: ScramSHA256, Username: "sync"}.mechanism(func() string { return "a password" })
	for _, last := range []string{"e=Zebulon", "Zebulon", "v=Zebulon"} {
		steps, first, err := m.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := bytes.Cut(first, []byte("r="))
		if _, _, err := steps.Next(t.Context(), fmt.Appendf(nil, "r=%sbroker,s=c2FsdA==,i=4096", nonce)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := steps.Next(t.Context(), []byte(last)); err == nil || strings.Contains(err.Error(), "Zebulon") {
			t.Errorf("%s: %v", last, err)
		}
	}
}

// The one who answers in the place of a broker says how often the password is hashed. Without a bound
// this would take an hour of a processor, however often the connection is given up.
func TestLogin_BoundsWhatABrokerMayAskFor(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{ScramSHA256, ScramSHA512} {
		for rounds, refused := range map[string]bool{"4096": false, "16384": false, "2147483647": true, "99999999999999999999": true} {
			m := SASL{Mechanism: mechanism, Username: "sync"}.mechanism(func() string { return "a password" })
			steps, first, err := m.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, nonce, _ := bytes.Cut(first, []byte("r="))
			_, answer, err := steps.Next(t.Context(), fmt.Appendf(nil, "r=%sbroker,s=c2FsdA==,i=%s", nonce, rounds))
			if refused != errors.Is(err, errIterations) || !refused && (err != nil || len(answer) == 0) {
				t.Errorf("%s, %s rounds: %q, %v", mechanism, rounds, answer, err)
			}
		}
	}
}
