package upstream

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// goodConfig is valid without any file.
func goodConfig() Config {
	c := DefaultConfig()
	c.Accounts = []Account{
		{ID: "a", Host: "https://api.test", Credentials: Credentials{ClientID: "x", ClientSecretFile: "s"}},
		{ID: "b", Host: "https://api.test", Streams: []string{"st-b*"}, Credentials: Credentials{StaticTokenFile: "t"}},
	}
	c.SetDefaults()
	return c
}

func TestConfig_DefaultsAreValid(t *testing.T) {
	t.Parallel()
	c := goodConfig()
	if problems := c.Validate(); problems != nil {
		t.Errorf("got %v", problems)
	}
	a := c.Accounts[0]
	if *a.Budget.Requests != 60 || a.Budget.burst() != 6 || a.Budget.Window != time.Minute || a.Budget.Share != ShareSplit ||
		a.Streams[0] != "*" || a.Credentials.Algorithm != "HS256" || a.Credentials.TTL != 5*time.Minute {
		t.Errorf("got %+v", a)
	}
	empty := Config{}
	if empty.SetDefaults(); len(empty.Answer.SuccessIDs) != 5 || len(empty.Answer.Transient) == 0 {
		t.Errorf("got %+v", empty.Answer)
	}
}

// What looks shadowed and is not.
func TestConfig_PatternsThatTakeAStream(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2][]string{
		{{"st-[abc]"}, {"st-a", "st-b"}},
		{{"st-[ab]*"}, {"st-a*", "st-b"}},
		{{"st-*", "st-a"}, {"other"}},
		{{"*"}, {"st-?*"}},
		{{"st-[ab]", "st-a", "st-b"}, {"other"}},
	} {
		c := goodConfig()
		c.Accounts[0].Streams, c.Accounts[1].Streams = tt[0], tt[1]
		if problems := c.Validate(); len(problems) > 0 {
			t.Errorf("%v: %v", tt, problems)
		}
	}
}

func TestConfig_Problems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key    string
		adjust func(*Config)
	}{
		{"accounts", func(c *Config) { c.Accounts = nil }},
		{"accounts[0].id", func(c *Config) { c.Accounts[0].ID = "a\r\nb" }},
		{"accounts[1].id", func(c *Config) { c.Accounts[1].ID = "a" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "api.test" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "http://api.test" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "ftp://api.test" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "https://api.test/a/../b" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "https://api.test/a//b" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "https://api.test/a%2fb" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "https://api.test/a b" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "https://api.test/agentassist/api/v1/public/st-1/contacts" }},
		{"accounts[0].streams[0]", func(c *Config) { c.Accounts[0].Streams = []string{"st.*"} }},
		{"accounts[0].streams[0]", func(c *Config) { c.Accounts[0].Streams = []string{"st 1"} }},
		{"accounts[0].streams[0]", func(c *Config) { c.Accounts[0].Streams = []string{strings.Repeat("?", 65)} }},
		{"accounts[0].streams[0]", func(c *Config) {
			c.Accounts[0].Streams, c.Accounts[1].Streams = []string{"st-[ab]"}, []string{"st-a", "st-b"}
		}},
		{"accounts[0].streams[0]", func(c *Config) {
			c.Accounts[0].Streams, c.Accounts[1].Streams = []string{"st-[ab]*"}, []string{"st-a*", "st-b*"}
		}},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "https://api.test?x=1" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "https://user:canary@api.test" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "https://user:canary@api test" }},
		{"accounts[0].host", func(c *Config) { c.Accounts[0].Host = "https://:443" }},
		{"accounts[0].streams[0]", func(c *Config) { c.Accounts[0].Streams = []string{"[a"} }},
		{"accounts[0].streams[0]", func(c *Config) { c.Accounts[0].Streams = []string{""} }},
		{"accounts[1].streams[0]", func(c *Config) { c.Accounts[1].Streams = []string{"*"} }},
		{"accounts[0].credentials.client_id", func(c *Config) { c.Accounts[0].Credentials.ClientID = "" }},
		{"accounts[0].credentials.client_id", func(c *Config) { c.Accounts[0].Credentials.ClientIDFile = "f" }},
		{"accounts[0].credentials.client_secret_file", func(c *Config) { c.Accounts[0].Credentials.ClientSecretFile = "" }},
		{"accounts[0].credentials.private_key_file", func(c *Config) { c.Accounts[0].Credentials.Algorithm = "RS256" }},
		{"accounts[0].credentials.algorithm", func(c *Config) { c.Accounts[0].Credentials.Algorithm = "none" }},
		{"accounts[0].credentials.ttl", func(c *Config) { c.Accounts[0].Credentials.TTL = 2 * time.Hour }},
		{"accounts[0].credentials.claims", func(c *Config) { c.Accounts[0].Credentials.Claims = map[string]any{"exp": 1} }},
		{"accounts[1].credentials.static_token_file", func(c *Config) { c.Accounts[1].Credentials.JTI = true }},
		{"accounts[0].budget.requests", func(c *Config) { c.Accounts[0].Budget.Requests = new(-1) }},
		{"accounts[0].budget.window", func(c *Config) { c.Accounts[0].Budget.Window = time.Millisecond }},
		{"accounts[0].budget.burst", func(c *Config) { c.Accounts[0].Budget.Burst = 31 }},
		{"accounts[0].budget.share", func(c *Config) { c.Accounts[0].Budget.Share = "half" }},
		{"timeout", func(c *Config) { c.Timeout = 0 }},
		{"throttle_max", func(c *Config) { c.ThrottleMax = 0 }},
		{"max_answer_bytes", func(c *Config) { c.MaxAnswerBytes = 0 }},
		{"proxy", func(c *Config) { c.Proxy = "http://proxy" }},
		{"breaker.min_requests", func(c *Config) { c.Breaker.MinRequests = 0 }},
		{"breaker.failure_ratio", func(c *Config) { c.Breaker.FailureRatio = 1.1 }},
		{"breaker.consecutive", func(c *Config) { c.Breaker.Consecutive = 0 }},
		{"breaker.interval", func(c *Config) { c.Breaker.Interval = c.Timeout }},
		{"breaker.open", func(c *Config) { c.Breaker.Open = 0 }},
		{"answer.success_ids[0]", func(c *Config) { c.Answer.SuccessIDs = []string{"a..b"} }},
		{"answer.transient[0]", func(c *Config) { c.Answer.Transient = []string{" "} }},
	} {
		c := goodConfig()
		tt.adjust(&c)
		problems := c.Validate()
		if len(problems) != 1 || problems[0].Key != tt.key || strings.Contains(fmt.Sprint(problems), "canary") {
			t.Errorf("%s: got %v", tt.key, problems)
		}
	}
}
