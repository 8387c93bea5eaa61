package upstream

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/setting"
)

// Validate returns everything that is wrong with the settings. It opens no file and
// expects SetDefaults to have been called.
func (c Config) Validate() []setting.Error {
	var problems setting.Errors
	if len(c.Accounts) == 0 {
		problems.Add("accounts", "name at least one account")
	}
	ids, overlapping := map[string]int{}, overlaps(streamPatterns(c.Accounts), "one stream belongs to one account")
	for i, a := range c.Accounts {
		key := fmt.Sprintf("accounts[%d].", i)
		switch first, seen := ids[a.ID]; {
		case !contactsync.IsName(a.ID):
			problems.Add(key+"id", "%q is not an account id: 1 to 64 letters, digits, - or _", a.ID)
		case seen:
			problems.Add(key+"id", "%q is the id of accounts[%d] already", a.ID, first)
		}
		ids[a.ID] = i
		if _, err := parseHost(a.Host, a.AllowPlaintext); err != nil {
			problems.Add(key+"host", "%v", err)
		}
		for j, p := range a.Streams {
			here := fmt.Sprintf("%sstreams[%d]", key, j)
			if !isPattern(p) {
				problems.Add(here, "%q is not a pattern: use a name, or *, ? and [a-z]", p)
			}
			for _, problem := range overlapping[here] {
				problems.Add(here, "%s", problem)
			}
		}
		a.each(func(where, _ string, credentials Credentials) { credentials.validate(key+where+".", &problems) })
		a.validateApps(key, &problems)
		a.Budget.validate(key+"budget.", &problems)
	}
	c.validateLimits(&problems)
	c.validateTLS(&problems)
	c.Breaker.validate(c.Timeout, &problems)
	c.Answer.validate(&problems)
	return problems
}

// overlaps returns what is wrong with patterns that have no winner, by their keys: both lines
// are named.
func overlaps(all []pattern, rule string) map[string][]string {
	problems := map[string][]string{}
	add := func(p pattern, format string, args ...any) {
		problems[p.key] = append(problems[p.key], fmt.Sprintf(format, args...))
	}
	all = slices.DeleteFunc(all, func(p pattern) bool { return !isPattern(p.text) })
	for _, one := range idlePatterns(all) {
		if len(one.by) == 0 {
			add(one.of, "%q matches no name of a stream: these are 1 to 64 letters, digits, - and _", one.of.text)
			continue
		}
		add(one.of, "%q takes no stream: what it matches is taken by more specific patterns, as %q of %s: leave it out", one.of.text, one.by[0].text, one.by[0].key)
	}
	for _, c := range conflicts(all) {
		if c.a.text == c.b.text {
			first, _, _ := strings.Cut(c.a.key, ".streams")
			add(c.b, "%q is a pattern of %s already: %s", c.b.text, first, rule)
			continue
		}
		for _, p := range [][2]pattern{{c.a, c.b}, {c.b, c.a}} {
			if c.stream == "" {
				add(p[0], "%q and %q of %s are too complicated to compare: use fewer wildcards", p[0].text, p[1].text, p[1].key)
				continue
			}
			add(p[0], "%q and %q of %s both take stream %q, and neither is more specific: say whose it is with a pattern for what both take",
				p[0].text, p[1].text, p[1].key, c.stream)
		}
	}
	return problems
}

// validateApps checks the apps of an account, and that each of its streams has credentials.
func (a *Account) validateApps(key string, problems *setting.Errors) {
	names := map[string]int{}
	all := appPatterns(key, a)
	overlapping := overlaps(slices.Clone(all), "one app signs for a stream")
	for i, app := range a.Apps {
		here := fmt.Sprintf("%sapps[%d].", key, i)
		switch first, seen := names[app.Name]; {
		case !contactsync.IsName(app.Name):
			problems.Add(here+"name", "%q is not a name: 1 to 64 letters, digits, - or _", app.Name)
		case seen:
			problems.Add(here+"name", "%q is the name of apps[%d] already", app.Name, first)
		}
		names[app.Name] = i
		if len(app.Streams) == 0 {
			problems.Add(here+"streams", "name the streams that the app signs for")
		}
	}
	for _, p := range all {
		if !isPattern(p.text) {
			problems.Add(p.key, "%q is not a pattern: use a name, or *, ? and [a-z]", p.text)
			continue
		}
		for _, problem := range overlapping[p.key] {
			problems.Add(p.key, "%s", problem)
		}
		if !slices.ContainsFunc(a.Streams, func(stream string) bool { return meet(stream, p.text) }) {
			problems.Add(p.key, "%q takes no stream of the account, whose streams are %s", p.text, strings.Join(a.Streams, ", "))
		}
	}
	if !a.appsOnly() {
		return
	}
	for _, stream := range a.Streams {
		if name, sure := withoutApp(stream, all); name != "" || !sure {
			problems.Add(key+"credentials", "streams like %q of %q have none: give the account credentials, or an app that takes them", name, stream)
		}
	}
}

// withoutApp returns a stream that a pattern takes and no app does.
func withoutApp(stream string, apps []pattern) (name string, sure bool) {
	if !isPattern(stream) {
		return "", true // reported
	}
	var taken []glob
	for _, app := range apps {
		_, exact := literal(app.text)
		// However many single names there are, they are not all that a star takes.
		if isPattern(app.text) && (!exact || !strings.Contains(stream, "*") && meet(stream, app.text)) {
			taken = append(taken, parseGlob(app.text))
		}
	}
	return exampleName([]glob{parseGlob(stream)}, taken)
}

// meet reports whether two patterns take some stream both.
func meet(a, b string) bool {
	if !isPattern(a) || !isPattern(b) {
		return false
	}
	name, sure := exampleName([]glob{parseGlob(a), parseGlob(b)}, nil)
	return name != "" || !sure
}

func isPattern(text string) bool {
	_, err := path.Match(text, "")
	return err == nil && text != ""
}

func (c Config) validateLimits(problems *setting.Errors) {
	if c.Timeout < 100*time.Millisecond || c.Timeout > 10*time.Minute {
		problems.Add("timeout", "%v must be between 100ms and 10m", c.Timeout)
	}
	if c.ThrottleMax < time.Second || c.ThrottleMax > 24*time.Hour {
		problems.Add("throttle_max", "%v must be between 1s and 24h", c.ThrottleMax)
	}
	if c.MaxAnswerBytes < 64<<10 || c.MaxAnswerBytes > 1<<30 {
		problems.Add("max_answer_bytes", "%v must be between 64KiB and 1GiB", c.MaxAnswerBytes)
	}
	if c.Proxy != ProxyNone && c.Proxy != ProxyEnvironment {
		problems.Add("proxy", "%q is unknown: %s or %s", c.Proxy, ProxyNone, ProxyEnvironment)
	}
}

// validateTLS checks the settings of the service's own certificate.
func (c Config) validateTLS(problems *setting.Errors) {
	if (c.CertFile == "") != (c.KeyFile == "") {
		problems.Add("cert_file", "cert_file and key_file go together: set both or none")
	}
}

func (c Credentials) validate(key string, problems *setting.Errors) {
	if c.StaticTokenFile != "" {
		if c.ClientID+c.ClientIDFile+c.ClientSecretFile+c.PrivateKeyFile+c.Algorithm != "" || c.JTI {
			problems.Add(key+"static_token_file", "a token made elsewhere is sent as it is: leave the other credentials empty")
		}
		return
	}
	if (c.ClientID == "") == (c.ClientIDFile == "") {
		problems.Add(key+"client_id", "give either client_id or client_id_file")
	}
	switch {
	case slices.Contains([]string{"HS256", "HS384", "HS512"}, c.Algorithm):
		if c.ClientSecretFile == "" || c.PrivateKeyFile != "" {
			problems.Add(key+"client_secret_file", "%s signs with client_secret_file, and with it alone", c.Algorithm)
		}
	case c.Algorithm == "RS256", c.Algorithm == "RS512":
		if c.PrivateKeyFile == "" || c.ClientSecretFile != "" {
			problems.Add(key+"private_key_file", "%s signs with private_key_file, and with it alone", c.Algorithm)
		}
	default:
		problems.Add(key+"algorithm", "%q is unknown: HS256, HS384, HS512, RS256 or RS512", c.Algorithm)
	}
	if c.TTL < time.Minute || c.TTL > time.Hour {
		problems.Add(key+"ttl", "%v must be between 1m and 1h", c.TTL)
	}
	for _, claim := range []string{"appId", "sub", "iss", "aud", "iat", "exp", "jti"} {
		if _, ok := c.Claims[claim]; ok {
			problems.Add(key+"claims", "%s has a setting of its own", claim)
		}
	}
}

func (b Budget) validate(key string, problems *setting.Errors) {
	if b.Requests == nil || *b.Requests < 0 || *b.Requests > 1_000_000 {
		problems.Add(key+"requests", "must be between 0 and 1000000")
		return
	}
	if b.Window < time.Second || b.Window > 24*time.Hour {
		problems.Add(key+"window", "%v must be between 1s and 24h", b.Window)
	}
	// What is not burst refills the bucket: all burst would refill nothing.
	if b.Burst < 0 || (*b.Requests > 0 && b.Burst > max(1, *b.Requests/2)) {
		problems.Add(key+"burst", "%d must be between 0 and half of requests (%d)", b.Burst, *b.Requests)
	}
	if b.Share != ShareSplit && b.Share != ShareFull {
		problems.Add(key+"share", "%q is unknown: %s or %s", b.Share, ShareSplit, ShareFull)
	}
}

func (b Breaker) validate(timeout time.Duration, problems *setting.Errors) {
	if b.MinRequests < 1 || b.MinRequests > 1_000_000 {
		problems.Add("breaker.min_requests", "%d must be between 1 and 1000000", b.MinRequests)
	}
	if !(b.FailureRatio > 0 && b.FailureRatio <= 1) {
		problems.Add("breaker.failure_ratio", "%v must be above 0 and at most 1", b.FailureRatio)
	}
	if b.Consecutive < 1 || b.Consecutive > 1_000_000 {
		problems.Add("breaker.consecutive", "%d must be between 1 and 1000000", b.Consecutive)
	}
	// The result of a request that outlives the interval would not be counted.
	if b.Interval < 2*timeout || b.Interval < breakerBuckets*time.Millisecond {
		problems.Add("breaker.interval", "%v is less than twice timeout (%v)", b.Interval, timeout)
	}
	if b.Open < 100*time.Millisecond || b.Open > time.Hour {
		problems.Add("breaker.open", "%v must be between 100ms and 1h", b.Open)
	}
}

func (a Answer) validate(problems *setting.Errors) {
	for _, list := range []struct {
		key   string
		paths []string
	}{{"success_ids", a.SuccessIDs}, {"failure_ids", a.FailureIDs}, {"reasons", a.Reasons}} {
		for i, p := range list.paths {
			if slices.Contains(strings.Split(p, "."), "") {
				problems.Add(fmt.Sprintf("answer.%s[%d]", list.key, i), "%q is not a path: names with dots between them", p)
			}
		}
	}
	for i, known := range a.Known {
		if name, message := named(known); !contactsync.IsName(name) || message == "" {
			problems.Add(fmt.Sprintf("answer.known[%d]", i), "%q is not name=message, with a name of 1 to 64 letters, digits, - or _", known)
		}
	}
	for i, w := range a.Transient {
		if strings.TrimSpace(w) == "" {
			problems.Add(fmt.Sprintf("answer.transient[%d]", i), "is empty and would match every reason")
		}
	}
}
