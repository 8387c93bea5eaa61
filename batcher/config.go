package batcher

import (
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

// Config is the batcher section of the settings.
type Config struct {
	// MaxRows bounds the contacts in one request. The API documents no limit.
	MaxRows int `yaml:"max_rows"`
	// MaxBytes bounds the body of one request. A single larger contact is sent on its
	// own.
	MaxBytes setting.Size `yaml:"max_bytes"`
	// Linger is how long the oldest pending event of a stream waits for others before
	// a request that is not full is sent.
	Linger time.Duration `yaml:"linger"`
	// WindowBytes bounds the memory for events, from fetching to completion. When it
	// is full, fetching pauses; heartbeats continue. Tens of thousands of streams that
	// were each refused may take up to half as much again, so that others go on.
	WindowBytes setting.Size `yaml:"window_bytes"`
	// MaxInFlight bounds the concurrent requests of one account. How many there are
	// follows from its budget and from how long they take: twice as many as use the budget up,
	// and at least 16. 0 is no other bound; where the account has no budget, 16.
	MaxInFlight int `yaml:"max_in_flight"`
	// BackoffMin is the delay of a stream after its first failed request. It doubles
	// with each further failure up to backoff_max, with jitter.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest delay between two attempts of a stream.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// RowAttempts is how many answers may leave a row undecided before it goes to the
	// dead-letter topic: answers that do not account for the row, or that reject it
	// for a transient reason or for none.
	RowAttempts int `yaml:"row_attempts"`
	// AmbiguousRetryDelay is how long the contacts of a request that timed out or was
	// cut off wait before they are sent again, so that the API can finish the first
	// request.
	AmbiguousRetryDelay time.Duration `yaml:"ambiguous_retry_delay"`
	// UnansweredAttempts is how many requests with a row alone must fail, each after other
	// rows of its stream were answered, for the row to go to the dead-letter topic.
	UnansweredAttempts int `yaml:"unanswered_attempts"`
	// UnansweredAfter is over how long a time at least these requests must be spread.
	UnansweredAfter time.Duration `yaml:"unanswered_after"`
	// HoldProbeMax is the longest delay between two probes of a stream that is on hold
	// because the API refuses the credentials or does not know the stream.
	HoldProbeMax time.Duration `yaml:"hold_probe_max"`
	// HoldMax bounds how long such a hold may last, and how long a contact may wait in
	// it, or alone because the API does not know it, before the contacts go to the
	// dead-letter topic for a later replay. 0 means no limit.
	HoldMax time.Duration `yaml:"hold_max"`
	// DeadLetterMaxPerMinute is how many rejected rows of an account may become dead
	// letters in a minute, whatever dead_letter_max_ratio is. When both limits are
	// exceeded, rejected rows are retained, and the stream is put on hold and tried
	// row by row: the cause is then more likely the API than the rows.
	DeadLetterMaxPerMinute int `yaml:"dead_letter_max_per_minute"`
	// DeadLetterMaxRatio is how large a share of the rows of a stream, of those
	// answered in the last minute, may be rejected for the stream to make dead letters
	// beyond dead_letter_max_per_minute. 1 disables the limit.
	DeadLetterMaxRatio float64 `yaml:"dead_letter_max_ratio"`
	// RememberContacts is for how many contacts the newest accepted state is
	// remembered, at about 440 bytes each, so that stale events and replays are not
	// sent after it. 0 disables that: stale events are sent, and events replayed
	// through the topic become dead letters again.
	RememberContacts int `yaml:"remember_contacts"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		MaxRows:             100,
		MaxBytes:            512 << 10,
		Linger:              500 * time.Millisecond,
		WindowBytes:         256 << 20,
		BackoffMin:          500 * time.Millisecond,
		BackoffMax:          time.Minute,
		RowAttempts:         3,
		AmbiguousRetryDelay: 5 * time.Second,

		UnansweredAttempts:     5,
		UnansweredAfter:        10 * time.Minute,
		HoldProbeMax:           10 * time.Minute,
		DeadLetterMaxPerMinute: 20,
		DeadLetterMaxRatio:     0.5,
		RememberContacts:       100_000,
	}
}

// backoff is the n-th wait in a row, from 1 on: doubled each time, up to the longest.
func (c *Config) backoff(n int, longest time.Duration) time.Duration {
	d := c.BackoffMin << min(n-1, 30)
	if d <= 0 || d > longest { // a long wait that is doubled runs over
		return longest
	}
	return d
}

// Validate returns every error of the settings.
func (c Config) Validate() []setting.Error {
	var errs setting.Errors
	if c.MaxRows < 1 || c.MaxRows > 100_000 {
		errs.Add("max_rows", "%d must be between 1 and 100000", c.MaxRows)
	}
	if c.MaxBytes < 1<<10 {
		errs.Add("max_bytes", "%v is too small: at least 1KiB", c.MaxBytes)
	}
	if c.WindowBytes < 4*c.MaxBytes {
		errs.Add("window_bytes", "%v holds less than four requests of max_bytes (%v)", c.WindowBytes, c.MaxBytes)
	}
	if c.Linger < 0 {
		errs.Add("linger", "%v is negative", c.Linger)
	}
	if c.MaxInFlight < 0 || c.MaxInFlight > 10_000 {
		errs.Add("max_in_flight", "%d must be between 0 and 10000", c.MaxInFlight)
	}
	if c.BackoffMin < time.Millisecond || c.BackoffMax < c.BackoffMin {
		errs.Add("backoff_min", "%v must be at least 1ms and at most backoff_max (%v)", c.BackoffMin, c.BackoffMax)
	}
	if c.RowAttempts < 1 {
		errs.Add("row_attempts", "%d must be at least 1", c.RowAttempts)
	}
	if c.AmbiguousRetryDelay < 0 {
		errs.Add("ambiguous_retry_delay", "%v is negative", c.AmbiguousRetryDelay)
	}
	if c.UnansweredAttempts < 2 {
		errs.Add("unanswered_attempts", "%d must be at least 2: one failure says nothing of a row", c.UnansweredAttempts)
	}
	if c.UnansweredAfter < 0 {
		errs.Add("unanswered_after", "%v is negative", c.UnansweredAfter)
	}
	if c.HoldProbeMax < c.BackoffMin {
		errs.Add("hold_probe_max", "%v is less than backoff_min (%v)", c.HoldProbeMax, c.BackoffMin)
	}
	if c.HoldMax < 0 {
		errs.Add("hold_max", "%v is negative: 0 holds for ever", c.HoldMax)
	}
	if c.DeadLetterMaxPerMinute < 0 {
		errs.Add("dead_letter_max_per_minute", "%d is negative", c.DeadLetterMaxPerMinute)
	}
	if !(c.DeadLetterMaxRatio >= 0 && c.DeadLetterMaxRatio <= 1) { // not-a-number too
		errs.Add("dead_letter_max_ratio", "%v must be between 0 and 1", c.DeadLetterMaxRatio)
	}
	if c.RememberContacts < 0 || c.RememberContacts > 100_000_000 {
		errs.Add("remember_contacts", "%d must be between 0 and 100000000", c.RememberContacts)
	}
	return errs
}
