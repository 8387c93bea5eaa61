package kafkaconn_test

import (
	"slices"
	"testing"

	"github.com/contactsync/contactsync/internal/kafkaconn"
)

func TestConfig_ValidateNamesEveryFault(t *testing.T) {
	t.Parallel()
	valid := func() kafkaconn.Config {
		c := kafkaconn.DefaultConfig()
		c.Brokers = []string{"kafka-1:9092", "[::1]:9092"}
		return c
	}
	scram := kafkaconn.SASL{Mechanism: kafkaconn.ScramSHA512, Username: "u", PasswordFile: "p"}
	plain := kafkaconn.SASL{Mechanism: kafkaconn.Plain, Username: "u", PasswordFile: "p"}
	openPlain := plain
	openPlain.AllowPlaintext = true
	for _, test := range []struct {
		name   string
		change func(*kafkaconn.Config)
		keys   []string
	}{
		{"default", func(*kafkaconn.Config) {}, nil},
		{"scram without tls", func(c *kafkaconn.Config) { c.SASL = scram }, nil},
		{"plain with tls", func(c *kafkaconn.Config) { c.SASL, c.TLS.Enabled = plain, true }, nil},
		{"plain allowed without tls", func(c *kafkaconn.Config) { c.SASL = openPlain }, nil},
		{"plain without tls", func(c *kafkaconn.Config) { c.SASL = plain }, []string{"sasl.mechanism"}},
		{"no broker", func(c *kafkaconn.Config) { c.Brokers = nil }, []string{"brokers"}},
		{
			"bad brokers",
			func(c *kafkaconn.Config) {
				c.Brokers = []string{"kafka", "k:0", "k:70000", "kafka://k:9092", ":9092", "k:9092", "k:9092", "a,b:1"}
			},
			[]string{
				"brokers[0]", "brokers[1]", "brokers[2]", "brokers[3]",
				"brokers[4]", "brokers[6]", "brokers[7]",
			},
		},
		{"client id", func(c *kafkaconn.Config) { c.ClientID = "a b" }, []string{"client_id"}},
		{
			"times",
			func(c *kafkaconn.Config) { c.DialTimeout, c.RequestTimeout, c.MetadataTTL = 0, -1, 1 },
			[]string{"dial_timeout", "request_timeout", "metadata_ttl"},
		},
		{
			"tls parts without tls",
			func(c *kafkaconn.Config) {
				c.TLS = kafkaconn.TLS{CAFile: "a", CertFile: "b", KeyFile: "c", ServerName: "d"}
			},
			[]string{"tls.ca_file", "tls.cert_file", "tls.key_file", "tls.server_name"},
		},
		{"certificate without key", func(c *kafkaconn.Config) { c.TLS = kafkaconn.TLS{Enabled: true, CertFile: "b"} }, []string{"tls.cert_file"}},
		{"unknown mechanism", func(c *kafkaconn.Config) { c.SASL.Mechanism = "GSSAPI" }, []string{"sasl.mechanism", "sasl.username", "sasl.password_file"}},
		{"login without mechanism", func(c *kafkaconn.Config) { c.SASL.Username = "u" }, []string{"sasl.mechanism"}},
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
