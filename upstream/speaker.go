package upstream

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/keyfile"
)

// speaker says what parts of answers come to, in words of our own.
type speaker struct {
	known map[string]string // sentences of the settings, normalized, and how they are called
	key   []byte            // of the hashes
}

// newSpeaker returns one for the settings, with the key of their file, or a key of its own.
func newSpeaker(cfg Answer) (*speaker, error) {
	s := &speaker{known: make(map[string]string, len(cfg.Known))}
	for _, known := range cfg.Known {
		name, message := named(known)
		s.known[message] = name
	}
	if cfg.HashKeyFile == "" {
		s.key = []byte(rand.Text())
		return s, nil
	}
	key, err := keyfile.Secret(cfg.HashKeyFile)
	if err == nil {
		err = secretProblem(cfg.HashKeyFile, key) // whoever guesses it finds out what names the hashes stand for
	}
	s.key = []byte(key)
	return s, err
}

// named reads name=message.
func named(known string) (name, message string) {
	name, message, _ = strings.Cut(known, "=")
	return strings.TrimSpace(name), normalized(message)
}

// says is what a text comes to: words of our own, and the text without our secrets. Both are
// empty where there is no text.
func (s *speaker) says(t *errorText, secrets *ours) (string, contactsync.Text) {
	if t.empty() {
		return "", contactsync.Text{}
	}
	text := secrets.strip(t.String())
	return strings.Join(append(t.words(s.known), "text="+s.hash(text)), " "), contactsync.NewText(text)
}

// hash tells whether two texts are equal, and nothing to those who have no key.
func (s *speaker) hash(text string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil)[:4])
}
