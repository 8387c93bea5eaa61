package feed

import (
	"fmt"
	"slices"
)

// Config describes the events to generate. Shares lie between 0 and 1.
type Config struct {
	Topic    string
	Streams  int
	Contacts int // in all streams together
	Events   int
	Seed     uint64
	// SeqBase is added to every seq, so that a second run's events are newer than the
	// first one's.
	SeqBase int64

	// Skew is the exponent of the Zipf distribution of events over contacts, above 1. 0: uniform.
	Skew float64
	// InTurn takes the contacts one after the other instead of drawing them.
	InTurn bool
	// KeyByStream makes the stream's name the key, instead of stream and contact.
	KeyByStream bool
	// Rate bounds the events per second. 0: as fast as possible.
	Rate float64
	// Compression of the batches: none, gzip, snappy, lz4 or zstd; "" = none.
	Compression string

	// PoisonShare of the events are broken: half of them are not JSON, the other half
	// lack a required field.
	PoisonShare float64
	// RejectShare of the contacts have an id that starts with "bad".
	RejectShare float64
	// TombstoneShare of the events have no value.
	TombstoneShare float64
	// DeleteShare of the events delete their contact.
	DeleteShare float64

	// Transactional writes TxnEvents events in each transaction, and aborts
	// AbortShare of the transactions.
	Transactional bool
	TxnEvents     int
	AbortShare    float64
}

// DefaultConfig is 100,000 events of 10,000 contacts in 20 streams.
func DefaultConfig() Config {
	return Config{Topic: "contacts", Streams: 20, Contacts: 10_000, Events: 100_000, Seed: 1, TxnEvents: 500}
}

var compressions = []string{"", "none", "gzip", "snappy", "lz4", "zstd"}

// Validate returns the first fault of the settings.
func (c Config) Validate() error {
	if c.Streams < 1 || c.Contacts < 1 || c.Events < 0 || c.SeqBase < 0 {
		return fmt.Errorf("feed: %d streams, %d contacts, %d events, seq base %d: want at least 1, 1, 0 and 0", c.Streams, c.Contacts, c.Events, c.SeqBase)
	}
	for _, s := range []struct {
		name  string
		value float64
	}{
		{"poison", c.PoisonShare},
		{"reject", c.RejectShare},
		{"tombstone", c.TombstoneShare},
		{"delete", c.DeleteShare},
		{"poison, tombstone and delete together", c.PoisonShare + c.TombstoneShare + c.DeleteShare},
		{"abort", c.AbortShare},
	} {
		if !(s.value >= 0 && s.value <= 1) { // not-a-number too
			return fmt.Errorf("feed: share of %s is %v: want 0 to 1", s.name, s.value)
		}
	}
	switch {
	case c.Skew != 0 && !(c.Skew > 1):
		return fmt.Errorf("feed: skew %v: want 0 or more than 1", c.Skew)
	case !(c.Rate >= 0):
		return fmt.Errorf("feed: rate %v: want 0 or more", c.Rate)
	case c.Transactional && c.TxnEvents < 1:
		return fmt.Errorf("feed: %d events a transaction: want at least 1", c.TxnEvents)
	case !slices.Contains(compressions, c.Compression):
		return fmt.Errorf("feed: compression %q is unknown: none, gzip, snappy, lz4 or zstd", c.Compression)
	}
	return nil
}
