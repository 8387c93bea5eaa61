package contactsync

import "fmt"

// Text is what the API wrote, in its own words, without our tokens and secrets. It may
// name people, so it goes into dead letters, and to whoever asks for it by its hash, and
// nowhere else: whatever prints a Text prints how long it is. The value sits behind a
// pointer, because fmt reaches unexported fields past the methods here, and then prints an address.
type Text struct{ value *string }

// NewText returns text as a Text.
func NewText(text string) Text {
	if text == "" {
		return Text{}
	}
	return Text{&text}
}

// Reveal returns the text itself.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// String returns how long the text is.
func (t Text) String() string { return fmt.Sprintf("[%d bytes]", len(t.Reveal())) }

// Format writes the same for every verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// MarshalText writes the same, in JSON, YAML and wherever text is asked for.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
