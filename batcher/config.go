package batcher

import (
	"fmt"
	"time"

	"contactsync"
)

// Config is the batcher's part of the settings.
type Config struct {
	// MaxRows bounds the contacts in one request. The API documents no limit.
	MaxRows int `yaml:"max_rows" env:"MAX_ROWS"`
	// MaxBytes bounds the body of one request; one contact larger than it goes alone.
	MaxBytes contactsync.Size `yaml:"max_bytes" env:"MAX_BYTES"`
	// Linger is how long the oldest pending event of a stream waits for company
	// before a request is cut that is not full.
	Linger time.Duration `yaml:"linger" env:"LINGER"`
	// WindowBytes bounds everything between fetch and outcome. When it is full,
	// fetching pauses; heartbeats go on.
	WindowBytes contactsync.Size `yaml:"window_bytes" env:"WINDOW_BYTES"`
	// MaxInFlight bounds the requests on their way at once, all accounts together.
	MaxInFlight int `yaml:"max_in_flight" env:"MAX_IN_FLIGHT"`
	// BackoffMin is the first wait of a stream after a request that failed; it
	// doubles up to backoff_max, with jitter.
	BackoffMin time.Duration `yaml:"backoff_min" env:"BACKOFF_MIN"`
	// BackoffMax is the longest wait of a stream between two attempts.
	BackoffMax time.Duration `yaml:"backoff_max" env:"BACKOFF_MAX"`
	// RowAttempts is how often a row may fail or stay unaccounted for, in answers
	// that settle others, before it goes to the dead-letter topic.
	RowAttempts int `yaml:"row_attempts" env:"ROW_ATTEMPTS"`
	// AmbiguityHold is how long the contacts of a request that timed out or was
	// cut off wait before they are sent again, so that the API can finish with the first.
	AmbiguityHold time.Duration `yaml:"ambiguity_hold" env:"AMBIGUITY_HOLD"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		MaxRows:       100,
		MaxBytes:      512 << 10,
		Linger:        500 * time.Millisecond,
		WindowBytes:   256 << 20,
		MaxInFlight:   16,
		BackoffMin:    500 * time.Millisecond,
		BackoffMax:    time.Minute,
		RowAttempts:   3,
		AmbiguityHold: 5 * time.Second,
	}
}

// Validate returns every fault of the settings.
func (c Config) Validate() []contactsync.Fault {
	var faults []contactsync.Fault
	bad := func(key, format string, args ...any) {
		faults = append(faults, contactsync.Fault{Key: key, Problem: fmt.Sprintf(format, args...)})
	}
	if c.MaxRows < 1 || c.MaxRows > 100_000 {
		bad("max_rows", "%d must lie between 1 and 100000", c.MaxRows)
	}
	if c.MaxBytes < 1<<10 {
		bad("max_bytes", "%v is too small: at least 1KiB", c.MaxBytes)
	}
	if c.WindowBytes < 4*c.MaxBytes {
		bad("window_bytes", "%v holds less than four requests of max_bytes (%v)", c.WindowBytes, c.MaxBytes)
	}
	if c.Linger < 0 {
		bad("linger", "%v is negative", c.Linger)
	}
	if c.MaxInFlight < 1 || c.MaxInFlight > 10_000 {
		bad("max_in_flight", "%d must lie between 1 and 10000", c.MaxInFlight)
	}
	if c.BackoffMin < time.Millisecond || c.BackoffMax < c.BackoffMin {
		bad("backoff_min", "%v must be at least 1ms and at most backoff_max (%v)", c.BackoffMin, c.BackoffMax)
	}
	if c.RowAttempts < 1 {
		bad("row_attempts", "%d must be at least 1", c.RowAttempts)
	}
	if c.AmbiguityHold < 0 {
		bad("ambiguity_hold", "%v is negative", c.AmbiguityHold)
	}
	return faults
}
