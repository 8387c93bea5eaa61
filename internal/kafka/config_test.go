package kafka_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/kafka"
)

func TestConfig_RepeatsNoLoginOfABroker(t *testing.T) {
	t.Parallel()
	for _, broker := range []string{"sync:canary@kafka:9092", "sync:canary@kafka", "SASL_SSL://sync:canary@kafka:9092", "canary@[::1]:9092"} {
		c := kafka.DefaultConfig()
		c.Brokers = []string{broker}
		if problems := c.Validate(); len(problems) != 1 || strings.Contains(problems[0].Problem, "canary") || !strings.Contains(problems[0].Problem, "kafka.sasl") {
			t.Errorf("%q: %v", broker, problems)
		}
	}
}

func TestConfig_ValidateNamesEveryFault(t *testing.T) {
	t.Parallel()
	valid := func() kafka.Config {
		c := kafka.DefaultConfig()
		c.Brokers = []string{"kafka-1:9092", "[::1]:9092"}
		return c
	}
	scram := kafka.SASL{Mechanism: kafka.ScramSHA512, Username: "u", PasswordFile: "p"}
	plain := kafka.SASL{Mechanism: kafka.Plain, Username: "u", PasswordFile: "p"}
	openPlain := plain
	openPlain.AllowPlaintext = true
	for _, test := range []struct {
		name   string
		change func(*kafka.Config)
		keys   []string
	}{
		{"default", func(*kafka.Config) {}, nil},
		{"scram without tls", func(c *kafka.Config) { c.SASL = scram }, nil},
		{"plain with tls", func(c *kafka.Config) { c.SASL, c.TLS.Enabled = plain, true }, nil},
		{"plain allowed without tls", func(c *kafka.Config) { c.SASL = openPlain }, nil},
		{"plain without tls", func(c *kafka.Config) { c.SASL = plain }, []string{"sasl.mechanism"}},
		{"no broker", func(c *kafka.Config) { c.Brokers = nil }, []string{"brokers"}},
		{
			"bad brokers",
			func(c *kafka.Config) {
				c.Brokers = []string{"kafka", "k:0", "k:70000", "kafka://k:9092", ":9092", "k:9092", "k:9092", "a,b:1"}
			},
			[]string{
				"brokers[0]", "brokers[1]", "brokers[2]", "brokers[3]",
				"brokers[4]", "brokers[6]", "brokers[7]",
			},
		},
		{"client id", func(c *kafka.Config) { c.ClientID = "a b" }, []string{"client_id"}},
		{
			"times",
			func(c *kafka.Config) {
				c.DialTimeout, c.RequestTimeout, c.MetadataTTL, c.ConnectionMaxAge = 0, -1, 1, time.Second
			},
			[]string{"dial_timeout", "request_timeout", "metadata_ttl", "connection_max_age"},
		},
		{
			"tls parts without tls",
			func(c *kafka.Config) {
				c.TLS = kafka.TLS{CAFile: "a", CertFile: "b", KeyFile: "c", ServerName: "d"}
			},
			[]string{"tls.ca_file", "tls.cert_file", "tls.key_file", "tls.server_name"},
		},
		{"certificate without key", func(c *kafka.Config) { c.TLS = kafka.TLS{Enabled: true, CertFile: "b"} }, []string{"tls.cert_file"}},
		{"unknown mechanism", func(c *kafka.Config) { c.SASL.Mechanism = "GSSAPI" }, []string{"sasl.mechanism", "sasl.username", "sasl.password_file"}},
		{"login without mechanism", func(c *kafka.Config) { c.SASL.Username = "u" }, []string{"sasl.mechanism"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := valid()
			test.change(&c)
			var keys []string
			for _, f := range c.Validate() {
				keys = append(keys, f.Key)
				if f.Problem == "" {
					t.Errorf("fault of %s says nothing", f.Key)
				}
			}
			if !slices.Equal(keys, test.keys) {
				t.Errorf("faults at %q, want %q", keys, test.keys)
			}
		})
	}
}
