package stub

import (
	"io"
	"time"
)

// The default credentials. They guard nothing.
const (
	LabAppID  = "lab-app"
	LabSecret = "lab-secret-lab-secret-lab-secret!!"
)

// Config configures a Server. The zero value of a limit switches it off.
type Config struct {
	// Secret and AppID are the credentials of every account that Accounts does not name.
	Secret, AppID string
	// Algorithms are the signing algorithms that are accepted.
	Algorithms []string
	// EnforceJTI refuses a token without a jti, one that was seen before, and one
	// that is valid for more than an hour, as the vendor's app option does.
	EnforceJTI bool
	// Accounts are the accounts that exist. Empty: any account, any stream.
	Accounts map[string]Account

	// MaxRows and MaxBytes bound one call; above them it is answered 413.
	MaxRows  int
	MaxBytes int64
	// RateLimit calls of one account are accepted in any RateWindow. A refused call does not count.
	RateLimit  int
	RateWindow time.Duration
	// RateStatus answers the calls above it; RetryAfter goes with it unless 0, rounded up to seconds.
	RateStatus int
	RetryAfter time.Duration

	// Latency is how long a call takes; up to Jitter is added, evenly spread.
	Latency, Jitter time.Duration
	// MaxInFlight calls are handled at a time; others wait.
	MaxInFlight int

	// Partial accepts rows that lack everything but the id.
	Partial bool
	// Reject lists ids, with "*" as wildcard, that are never applied: they come back
	// in failedRecords, or, with RejectCall, make the whole call a 412.
	Reject     []string
	RejectCall bool

	// Terse leaves the contacts out of the answer and keeps their ids.
	Terse bool
	// KeepRows bounds the rows of the log in memory; further calls are only counted.
	// 0 keeps none.
	KeepRows int
	// Log gets a line of JSON for every call, in one Write each.
	Log io.Writer

	// Scenario holds the faults. Seed drives jitter and the rules' shares.
	Scenario Scenario
	Seed     uint64
}

// Account is one account: its credentials and the streams that belong to it.
type Account struct {
	Secret, AppID string
	Streams       []string // with "*" as in Reject; empty: all
}

// DefaultConfig is a stub with the lab's credentials, a log of four million rows and
// no limit or latency, that refuses contacts whose id starts with "bad".
func DefaultConfig() Config {
	return Config{
		Secret: LabSecret, AppID: LabAppID, Algorithms: []string{"HS256"},
		RateWindow: time.Minute, RateStatus: 429,
		Reject:   []string{"bad*"},
		KeepRows: 4_000_000, Seed: 1,
	}
}
