package upstream

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

// Config is the API's part of the settings.
type Config struct {
	// Accounts that contacts are sent to, each with its host, streams,
	// credentials and budget. At least one.
	Accounts []Account `yaml:"accounts"`
	// Timeout bounds one request, from connecting to the last byte of the answer.
	Timeout time.Duration `yaml:"timeout"`
	// ThrottleMax bounds how long an account waits because an answer asked it to.
	ThrottleMax time.Duration `yaml:"throttle_max"`
	// MaxAnswerBytes bounds one answer, as received and once decompressed. It is
	// held in memory for each request in flight.
	MaxAnswerBytes setting.Size `yaml:"max_answer_bytes"`
	// Proxy says how to reach the API: none (connect directly) or environment
	// (as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say).
	Proxy string `yaml:"proxy"`
	// CAFile names a PEM file with the certificate authorities to trust. Empty
	// trusts those of the system.
	CAFile string `yaml:"ca_file"`
	// Breaker stops calling a host that is down. Accounts on one host share it.
	Breaker Breaker `yaml:"breaker"`
	// Answer says where an answer names its rows.
	Answer Answer `yaml:"answer"`
}

// The ways to reach the API.
const (
	ProxyNone        = "none"
	ProxyEnvironment = "environment"
)

// Account is one account of the API.
type Account struct {
	// ID is the account's id, sent with every request.
	ID string `yaml:"id"`
	// Host is the base URL of the API: scheme and host, without a path.
	Host string `yaml:"host"`
	// AllowPlaintext permits an http:// host: tokens and contacts then cross the
	// network unencrypted.
	AllowPlaintext bool `yaml:"allow_plaintext"`
	// Streams that belong to the account, as names or patterns with *, ? and
	// [a-z]. The most specific pattern of all accounts wins. Default: "*".
	Streams []string `yaml:"streams"`
	// Credentials sign the account's tokens.
	Credentials Credentials `yaml:"credentials"`
	// Budget is what the account may call.
	Budget Budget `yaml:"budget"`
}

// Credentials say how the tokens of an account are made. Secrets are read from
// files only, and read again when a file changes.
type Credentials struct {
	// ClientID is the app's client id, the token's appId claim.
	ClientID string `yaml:"client_id"`
	// ClientIDFile names a file with the client id, instead of client_id.
	ClientIDFile string `yaml:"client_id_file"`
	// ClientSecretFile names the file with the client secret, for HS256, HS384 and HS512.
	ClientSecretFile string `yaml:"client_secret_file"`
	// PrivateKeyFile names the PEM file with the RSA key, for RS256 and RS512.
	PrivateKeyFile string `yaml:"private_key_file"`
	// StaticTokenFile names a file with a token made elsewhere. It is sent as it
	// is, and everything else here is left empty.
	StaticTokenFile string `yaml:"static_token_file"`
	// Algorithm signs the token: HS256 (the default), HS384, HS512, RS256 or RS512.
	Algorithm string `yaml:"algorithm"`
	// Subject is the token's sub claim. Default: contactsync.
	Subject string `yaml:"subject"`
	// Issuer is the token's iss claim; left out where empty.
	Issuer string `yaml:"issuer"`
	// Audience is the token's aud claim; left out where empty.
	Audience string `yaml:"audience"`
	// Claims are further claims, as they are.
	Claims map[string]any `yaml:"claims"`
	// TTL is the life of a token, between 1m and 1h. Default: 5m.
	TTL time.Duration `yaml:"ttl"`
	// JTI gives every request a token of its own with a random jti claim, for
	// apps that enforce it.
	JTI bool `yaml:"jti"`
}

// Budget is what an account may call, all replicas together.
type Budget struct {
	// Requests that may be started in any window. 0 is no limit; left out it is 60.
	Requests *int `yaml:"requests"`
	// Window is the length of the window. Default: 1m.
	Window time.Duration `yaml:"window"`
	// Burst is how many of the requests may be started at once after a pause; the
	// others are spread over the window. 0 is a tenth of requests, at least one.
	Burst int `yaml:"burst"`
	// Share says what part of the requests is this replica's: split (as it owns
	// partitions) or full (this replica alone calls the account). Default: split.
	Share string `yaml:"share"`
}

// The ways to share a budget.
const (
	ShareSplit = "split"
	ShareFull  = "full"
)

// Breaker says when a host counts as down.
type Breaker struct {
	// MinRequests is how many requests must have ended before their ratio counts.
	MinRequests int `yaml:"min_requests"`
	// FailureRatio of the requests in the interval opens the breaker.
	FailureRatio float64 `yaml:"failure_ratio"`
	// Consecutive failures open the breaker whatever the ratio.
	Consecutive int `yaml:"consecutive"`
	// Interval is the rolling window that requests are counted in; at least twice the timeout.
	Interval time.Duration `yaml:"interval"`
	// Open is how long nothing is sent before one request tries the host again.
	Open time.Duration `yaml:"open"`
}

// Answer says where an answer names its rows. Paths are dotted; arrays on the
// way are walked through.
type Answer struct {
	// SuccessIDs are the paths of the contact's id inside an element of successfulRecords.
	SuccessIDs []string `yaml:"success_ids"`
	// FailureIDs are the paths of the contact's id inside an element of failedRecords.
	FailureIDs []string `yaml:"failure_ids"`
	// Reasons are the paths of the reason inside an element of failedRecords.
	Reasons []string `yaml:"reasons"`
	// Transient are the words, in any case, that make a failed row worth another
	// attempt. A number stands for a status and matches only as a whole.
	Transient []string `yaml:"transient"`
}

// DefaultConfig returns the defaults. Accounts have none.
func DefaultConfig() Config {
	return Config{
		Timeout:        30 * time.Second,
		ThrottleMax:    5 * time.Minute,
		MaxAnswerBytes: 16 << 20,
		Proxy:          ProxyNone,
		Breaker: Breaker{
			MinRequests:  10,
			FailureRatio: 0.6,
			Consecutive:  5,
			Interval:     time.Minute,
			Open:         15 * time.Second,
		},
		Answer: defaultAnswer(),
	}
}

func defaultAnswer() Answer {
	ids := []string{"id", "_id", "contactId", "contact.id", "contact._id"}
	return Answer{
		SuccessIDs: ids,
		FailureIDs: slices.Clone(ids),
		Reasons:    []string{"reason", "error", "message", "msg", "errors"},
		Transient: []string{
			"timeout", "timed out", "temporar", "try again", "rate limit", "too many requests",
			"unavailable", "internal", "429", "500", "502", "503", "504",
		},
	}
}

// SetDefaults fills in what the entries of lists leave out, for which
// DefaultConfig has no place.
func (c *Config) SetDefaults() {
	for i := range c.Accounts {
		a := &c.Accounts[i]
		if len(a.Streams) == 0 {
			a.Streams = []string{"*"}
		}
		if a.Credentials.StaticTokenFile == "" {
			a.Credentials.setDefaults()
		}
		if a.Budget.Requests == nil {
			a.Budget.Requests = new(60)
		}
		if a.Budget.Window == 0 {
			a.Budget.Window = time.Minute
		}
		if a.Budget.Share == "" {
			a.Budget.Share = ShareSplit
		}
	}
	def := defaultAnswer()
	for _, list := range []struct{ set, def *[]string }{
		{&c.Answer.SuccessIDs, &def.SuccessIDs},
		{&c.Answer.FailureIDs, &def.FailureIDs},
		{&c.Answer.Reasons, &def.Reasons},
		{&c.Answer.Transient, &def.Transient},
	} {
		if len(*list.set) == 0 {
			*list.set = *list.def
		}
	}
}

func (c *Credentials) setDefaults() {
	if c.Algorithm == "" {
		c.Algorithm = "HS256"
	}
	if c.Subject == "" {
		c.Subject = "contactsync"
	}
	if c.TTL == 0 {
		c.TTL = 5 * time.Minute
	}
}

// burst is how many requests may be started at once.
func (b Budget) burst() int {
	if b.Burst > 0 {
		return b.Burst
	}
	return max(1, *b.Requests/10)
}
