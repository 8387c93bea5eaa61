package upstream

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds a string that must never be written. Whatever prints it prints
// "[redacted]". The value sits behind a pointer, because fmt reaches unexported
// fields of other structs past the methods here, and then prints an address.
type Secret struct{ value *string }

func newSecret(s string) Secret { return Secret{&s} }

// reveal returns the value, empty for the zero Secret.
func (s Secret) reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String returns a placeholder.
func (Secret) String() string { return redacted }

// GoString returns a placeholder.
func (Secret) GoString() string { return redacted }

// Format writes a placeholder for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText writes a placeholder, in JSON, YAML and wherever text is asked for.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON writes a placeholder.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue logs a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
