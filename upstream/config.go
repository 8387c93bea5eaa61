package upstream

import (
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

// Config is the upstream section of the settings.
type Config struct {
	// Accounts that contacts are sent to, each with its host, streams,
	// credentials and budget. At least one.
	Accounts []Account `yaml:"accounts"`
	// Timeout bounds one request, from connecting to the last byte of the answer.
	Timeout time.Duration `yaml:"timeout"`
	// ThrottleMax bounds how long an account waits because an answer asked it to. One that does not say how long means the
	// budget's window, at most this.
	ThrottleMax time.Duration `yaml:"throttle_max"`
	// MaxAnswerBytes bounds one answer, as received and once decompressed. Answers of
	// more than 1 MiB are read one at a time, so it also bounds what they take of the
	// memory together.
	MaxAnswerBytes setting.Size `yaml:"max_answer_bytes"`
	// Proxy is how the API is reached: none (directly) or environment (through
	// HTTPS_PROXY, HTTP_PROXY and NO_PROXY).
	Proxy string `yaml:"proxy"`
	// CAFile names a PEM file with the certificate authorities to trust. It is read again
	// when it changes. Empty trusts those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile names a PEM file with the service's own certificate, for an API or a gateway
	// that asks for one. It is read again when it changes.
	CertFile string `yaml:"cert_file"`
	// KeyFile names the PEM file with the private key of cert_file.
	KeyFile string `yaml:"key_file"`
	// Breaker stops requests to a host that fails. Accounts on one host share it.
	Breaker Breaker `yaml:"breaker"`
	// Answer is where an answer lists its rows.
	Answer Answer `yaml:"answer"`
}

// Values of Config.Proxy.
const (
	ProxyNone        = "none"
	ProxyEnvironment = "environment"
)

// Account is one account of the API.
type Account struct {
	// ID is the account's id, sent with every request.
	ID string `yaml:"id"`
	// Host is the base URL of the API: scheme and host, and the path before
	// /agentassist where a gateway has one. Accounts on one host share a circuit breaker.
	Host string `yaml:"host"`
	// AllowPlaintext permits an http:// host: tokens and contacts then cross the
	// network unencrypted.
	AllowPlaintext bool `yaml:"allow_plaintext"`
	// Streams that belong to the account, as names or patterns with *, ? and
	// [a-z]; left out, those of its apps where it has no credentials besides, else all. Of several patterns that take a stream the narrowest wins, which all others contain;
	// where two of different accounts take one, and neither contains the other, it is an error.
	Streams []string `yaml:"streams"`
	// Credentials sign the account's tokens, but for the streams that one of its apps takes.
	// They may be left out where apps take all of its streams.
	Credentials Credentials `yaml:"credentials"`
	// Apps are further credentials of the account, each for some of its streams. All of
	// them share the account's budget.
	Apps []App `yaml:"apps"`
	// Budget limits the account's requests.
	Budget Budget `yaml:"budget"`
}

// App is the credentials for some streams of an account. Kore.ai makes a JWT app for each
// bot, so an account can have several.
type App struct {
	// Name is what the log and /status call the app; unique in its account.
	Name string `yaml:"name"`
	// Streams are those of the account whose requests the app signs, as names or patterns.
	// Of several patterns that take a stream the one wins that all others contain.
	Streams []string `yaml:"streams"`
	// Credentials sign the tokens for these streams.
	Credentials Credentials `yaml:"credentials"`
}

// Credentials sign the tokens of an account. Secrets are read from files only, and
// read again when a file changes.
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
	// is, and every other credential stays empty.
	StaticTokenFile string `yaml:"static_token_file"`
	// Algorithm signs the token: HS256 (the default), HS384, HS512, RS256 or RS512.
	Algorithm string `yaml:"algorithm"`
	// Subject is the token's sub claim. Default: contactsync.
	Subject string `yaml:"subject"`
	// Issuer is the token's iss claim; left out if empty.
	Issuer string `yaml:"issuer"`
	// Audience is the token's aud claim; left out if empty.
	Audience string `yaml:"audience"`
	// Claims are further claims of the token.
	Claims map[string]any `yaml:"claims"`
	// TTL is the life of a token, between 1m and 1h. Default: 5m.
	TTL time.Duration `yaml:"ttl"`
	// JTI gives every request a token of its own with a random jti claim, for
	// apps that enforce it.
	JTI bool `yaml:"jti"`
}

// Budget limits the requests of an account, all replicas together.
type Budget struct {
	// Requests that may be started in any window. 0 is no limit; left out it is 60.
	Requests *int `yaml:"requests"`
	// Window is the length of the window. Default: 1m.
	Window time.Duration `yaml:"window"`
	// Burst is how many of the requests may be started at once after a pause; the
	// others are spread over the window. 0 is a tenth of requests, at least one. For ten
	// windows after a request was throttled, all are spread.
	Burst int `yaml:"burst"`
	// Share is this replica's part of the requests: split (in proportion to the
	// partitions it owns) or full (no other replica calls the account). Default: split.
	Share string `yaml:"share"`
}

// Values of Budget.Share.
const (
	ShareSplit = "split"
	ShareFull  = "full"
)

// Breaker configures the circuit breaker of a host.
type Breaker struct {
	// MinRequests is how many requests must have ended before the ratio counts.
	MinRequests int `yaml:"min_requests"`
	// FailureRatio is the part of the requests in the interval whose failure opens the breaker.
	FailureRatio float64 `yaml:"failure_ratio"`
	// Consecutive is how many failures in a row open the breaker, whatever the ratio.
	Consecutive int `yaml:"consecutive"`
	// Interval is the rolling window in which requests are counted; at least twice the timeout.
	Interval time.Duration `yaml:"interval"`
	// Open is how long nothing is sent before one request tries the host again.
	Open time.Duration `yaml:"open"`
}

// Answer is where an answer lists its rows. Paths are dotted; an array matches
// with each of its elements.
type Answer struct {
	// SuccessIDs are the paths of the contact's id inside an element of successfulRecords.
	SuccessIDs []string `yaml:"success_ids"`
	// FailureIDs are the paths of the contact's id inside an element of failedRecords.
	FailureIDs []string `yaml:"failure_ids"`
	// Reasons are the paths of the reason inside an element of failedRecords.
	Reasons []string `yaml:"reasons"`
	// Transient are the words, in any case, that make a reason worth another attempt.
	// A number is a status and matches only as a whole.
	Transient []string `yaml:"transient"`
	// Known are whole messages of the API that the log, /status and dead letters are to show
	// by a name of yours: name=message. Case, blanks and the end of the sentence do not count.
	Known []string `yaml:"known"`
	// HashKeyFile names a file with the key of the hashes that stand for messages that are not
	// known. With the same key all replicas have the same hashes; without one each process has its own.
	HashKeyFile string `yaml:"hash_key_file"`
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

// SetDefaults fills in what accounts leave out, which DefaultConfig cannot, and
// lists that are empty.
func (c *Config) SetDefaults() {
	for i := range c.Accounts {
		a := &c.Accounts[i]
		takesAll := len(a.Streams) == 0
		for j := range a.Apps {
			a.Apps[j].Credentials.setDefaults()
			if takesAll && a.appsOnly() {
				a.Streams = append(a.Streams, a.Apps[j].Streams...)
			}
		}
		if len(a.Streams) == 0 {
			a.Streams = []string{"*"}
		}
		if !a.appsOnly() {
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

// appsOnly reports whether the account has no credentials besides those of its apps.
func (a *Account) appsOnly() bool {
	c := &a.Credentials
	return len(a.Apps) > 0 && c.ClientID+c.ClientIDFile+c.ClientSecretFile+c.PrivateKeyFile+c.StaticTokenFile == ""
}

// each calls f for all credentials of an account: its own, if it has some, with an empty name,
// and those of its apps.
func (a *Account) each(f func(key, name string, c Credentials)) {
	if !a.appsOnly() {
		f("credentials", "", a.Credentials)
	}
	for i, app := range a.Apps {
		f(fmt.Sprintf("apps[%d].credentials", i), app.Name, app.Credentials)
	}
}

func (c *Credentials) setDefaults() {
	if c.StaticTokenFile != "" {
		return // which is sent as it is
	}
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

// burst returns how many requests may be started at once.
func (b Budget) burst() int {
	if b.Burst > 0 {
		return b.Burst
	}
	return max(1, *b.Requests/10)
}
