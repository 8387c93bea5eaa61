package upstream

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/setting"
)

// faultList collects faults under a key prefix.
type faultList []setting.Error

func (l *faultList) add(key, format string, args ...any) {
	*l = append(*l, setting.Error{Key: key, Problem: fmt.Sprintf(format, args...)})
}

// Validate returns every fault of the settings. It opens no file and expects
// SetDefaults to have been called.
func (c Config) Validate() []setting.Error {
	var bad faultList
	if len(c.Accounts) == 0 {
		bad.add("accounts", "name at least one account")
	}
	ids, patterns := map[string]int{}, map[string]int{}
	for i, a := range c.Accounts {
		key := fmt.Sprintf("accounts[%d].", i)
		switch first, seen := ids[a.ID]; {
		case !contactsync.IsName(a.ID):
			bad.add(key+"id", "%q is not an account id: 1 to 64 letters, digits, - or _", a.ID)
		case seen:
			bad.add(key+"id", "%q is the id of accounts[%d] already", a.ID, first)
		}
		ids[a.ID] = i
		if _, err := parseHost(a.Host, a.AllowPlaintext); err != nil {
			bad.add(key+"host", "%v", err)
		}
		for j, p := range a.Streams {
			here := fmt.Sprintf("%sstreams[%d]", key, j)
			if _, err := path.Match(p, ""); err != nil || p == "" {
				bad.add(here, "%q is not a pattern: use a name, or *, ? and [a-z]", p)
			}
			if first, seen := patterns[p]; seen {
				bad.add(here, "%q is a pattern of accounts[%d] already: one stream belongs to one account", p, first)
			}
			patterns[p] = i
		}
		a.Credentials.validate(key+"credentials.", &bad)
		a.Budget.validate(key+"budget.", &bad)
	}
	c.validateLimits(&bad)
	c.Breaker.validate(c.Timeout, &bad)
	c.Answer.validate(&bad)
	return bad
}

func (c Config) validateLimits(bad *faultList) {
	if c.Timeout < 100*time.Millisecond || c.Timeout > 10*time.Minute {
		bad.add("timeout", "%v must lie between 100ms and 10m", c.Timeout)
	}
	if c.ThrottleMax < time.Second || c.ThrottleMax > 24*time.Hour {
		bad.add("throttle_max", "%v must lie between 1s and 24h", c.ThrottleMax)
	}
	if c.MaxAnswerBytes < 64<<10 || c.MaxAnswerBytes > 1<<30 {
		bad.add("max_answer_bytes", "%v must lie between 64KiB and 1GiB", c.MaxAnswerBytes)
	}
	if c.Proxy != ProxyNone && c.Proxy != ProxyEnvironment {
		bad.add("proxy", "%q is unknown: %s or %s", c.Proxy, ProxyNone, ProxyEnvironment)
	}
}

func (c Credentials) validate(key string, bad *faultList) {
	if c.StaticTokenFile != "" {
		if c.ClientID+c.ClientIDFile+c.ClientSecretFile+c.PrivateKeyFile+c.Algorithm != "" || c.JTI {
			bad.add(key+"static_token_file", "a token made elsewhere is sent as it is: leave the other credentials empty")
		}
		return
	}
	if (c.ClientID == "") == (c.ClientIDFile == "") {
		bad.add(key+"client_id", "give either client_id or client_id_file")
	}
	switch {
	case slices.Contains([]string{"HS256", "HS384", "HS512"}, c.Algorithm):
		if c.ClientSecretFile == "" || c.PrivateKeyFile != "" {
			bad.add(key+"client_secret_file", "%s signs with client_secret_file, and with it alone", c.Algorithm)
		}
	case c.Algorithm == "RS256", c.Algorithm == "RS512":
		if c.PrivateKeyFile == "" || c.ClientSecretFile != "" {
			bad.add(key+"private_key_file", "%s signs with private_key_file, and with it alone", c.Algorithm)
		}
	default:
		bad.add(key+"algorithm", "%q is unknown: HS256, HS384, HS512, RS256 or RS512", c.Algorithm)
	}
	if c.TTL < time.Minute || c.TTL > time.Hour {
		bad.add(key+"ttl", "%v must lie between 1m and 1h", c.TTL)
	}
	for _, claim := range []string{"appId", "sub", "iss", "aud", "iat", "exp", "jti"} {
		if _, ok := c.Claims[claim]; ok {
			bad.add(key+"claims", "%s has a setting of its own", claim)
		}
	}
}

func (b Budget) validate(key string, bad *faultList) {
	if b.Requests == nil || *b.Requests < 0 || *b.Requests > 1_000_000 {
		bad.add(key+"requests", "must lie between 0 and 1000000")
		return
	}
	if b.Window < time.Second || b.Window > 24*time.Hour {
		bad.add(key+"window", "%v must lie between 1s and 24h", b.Window)
	}
	// What is not burst refills the bucket: all burst would refill nothing.
	if b.Burst < 0 || (*b.Requests > 0 && b.Burst > max(1, *b.Requests/2)) {
		bad.add(key+"burst", "%d must lie between 0 and half of requests (%d)", b.Burst, *b.Requests)
	}
	if b.Share != ShareSplit && b.Share != ShareFull {
		bad.add(key+"share", "%q is unknown: %s or %s", b.Share, ShareSplit, ShareFull)
	}
}

func (b Breaker) validate(timeout time.Duration, bad *faultList) {
	if b.MinRequests < 1 || b.MinRequests > 1_000_000 {
		bad.add("breaker.min_requests", "%d must lie between 1 and 1000000", b.MinRequests)
	}
	if !(b.FailureRatio > 0 && b.FailureRatio <= 1) {
		bad.add("breaker.failure_ratio", "%v must be above 0 and at most 1", b.FailureRatio)
	}
	if b.Consecutive < 1 || b.Consecutive > 1_000_000 {
		bad.add("breaker.consecutive", "%d must lie between 1 and 1000000", b.Consecutive)
	}
	// The result of a request that outlives the interval would not be counted.
	if b.Interval < 2*timeout || b.Interval < breakerBuckets*time.Millisecond {
		bad.add("breaker.interval", "%v is less than twice timeout (%v)", b.Interval, timeout)
	}
	if b.Open < 100*time.Millisecond || b.Open > time.Hour {
		bad.add("breaker.open", "%v must lie between 100ms and 1h", b.Open)
	}
}

func (a Answer) validate(bad *faultList) {
	for _, list := range []struct {
		key   string
		paths []string
	}{{"success_ids", a.SuccessIDs}, {"failure_ids", a.FailureIDs}, {"reasons", a.Reasons}} {
		for i, p := range list.paths {
			if slices.Contains(strings.Split(p, "."), "") {
				bad.add(fmt.Sprintf("answer.%s[%d]", list.key, i), "%q is not a path: names with dots between them", p)
			}
		}
	}
	for i, w := range a.Transient {
		if strings.TrimSpace(w) == "" {
			bad.add(fmt.Sprintf("answer.transient[%d]", i), "is empty and would match every reason")
		}
	}
}

// parseHost reads a base URL and refuses whatever could lead elsewhere than to
// the host it shows.
func parseHost(raw string, plaintext bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	// The text of a parse error holds the URL, which may hold a password.
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return nil, fmt.Errorf("is not a base URL: write https://host")
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("holds a user name: write https://%s", u.Host)
	case u.Scheme == "http" && !plaintext:
		return nil, fmt.Errorf("%q is not encrypted: write https://%s, or set allow_plaintext", raw, u.Host)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%q is not http or https: write https://%s", raw, u.Host)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, fmt.Errorf("%q holds more than scheme and host: write %s://%s", raw, u.Scheme, u.Host)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}
