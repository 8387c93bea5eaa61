package kafka

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

// Config is the kafka section of the settings.
type Config struct {
	// Brokers are the brokers to ask for the cluster's layout, as host:port. Name two
	// or three, so that one of them may be down when the service starts.
	Brokers []string `yaml:"brokers"`
	// ClientID identifies the service in the brokers' logs and quotas.
	ClientID string `yaml:"client_id"`
	// TLS encrypts the connections and can authenticate the service by a certificate.
	TLS TLS `yaml:"tls"`
	// SASL authenticates the service by username and password.
	SASL SASL `yaml:"sasl"`
	// DialTimeout bounds how long it takes to establish a connection, TLS and SASL
	// included. Each address gets a third of it to accept, and a third to answer for the
	// first time, so that a dead or frozen broker leaves time for the next.
	DialTimeout time.Duration `yaml:"dial_timeout"`
	// RequestTimeout bounds one request and its answer.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// MetadataTTL bounds how long the cluster's layout is cached, and so how long a
	// partition is requested from its previous leader.
	MetadataTTL time.Duration `yaml:"metadata_ttl"`
	// ConnectionMaxAge is how old a connection may become. Then requests go to a new
	// one, and the old one is closed when its last answer is in. It must be less than
	// connections.max.reauth.ms of the brokers, which cut connections off at that age
	// where it is set. A changed certificate, key or password file renews the
	// connections within seconds.
	ConnectionMaxAge time.Duration `yaml:"connection_max_age"`
}

// TLS configures encryption. Connections are renewed when a file
// changes. Versions below 1.2 are refused.
type TLS struct {
	// Enabled turns on TLS.
	Enabled bool `yaml:"enabled"`
	// CAFile is a PEM file with the certificate authorities to trust. Empty trusts
	// those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile is a PEM file with the service's own certificate, for brokers that
	// require one.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the PEM file with the private key of cert_file.
	KeyFile string `yaml:"key_file"`
	// ServerName is the name that every broker's certificate must carry, if it is not
	// the host of the broker's address.
	ServerName string `yaml:"server_name"`
}

// SASL configures the login.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Empty disables SASL.
	Mechanism string `yaml:"mechanism"`
	// Username is the name to log in with.
	Username string `yaml:"username"`
	// PasswordFile is a file with the password. Connections are renewed
	// when it changes; line endings after the password are ignored.
	PasswordFile string `yaml:"password_file"`
	// AllowPlaintext permits PLAIN to send the password over a connection without TLS.
	AllowPlaintext bool `yaml:"allow_plaintext"`
}

// The SASL mechanisms.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// DefaultConfig returns the defaults. Brokers has none.
func DefaultConfig() Config {
	return Config{
		ClientID:         "contactsync",
		DialTimeout:      10 * time.Second,
		RequestTimeout:   30 * time.Second,
		MetadataTTL:      2 * time.Second,
		ConnectionMaxAge: 30 * time.Minute,
	}
}

// Validate returns every error of the settings. It reads no file.
func (c Config) Validate() []setting.Error {
	var errs setting.Errors
	if len(c.Brokers) == 0 {
		errs.Add("brokers", "name at least one broker as host:port")
	}
	seen := map[string]bool{}
	for i, b := range c.Brokers {
		key := fmt.Sprintf("brokers[%d]", i)
		switch problem := brokerProblem(b); {
		case strings.Contains(b, "@"): // and the password with it, which is not repeated
			errs.Add(key, "holds a login: write host:port here, and the login under kafka.sasl")
		case problem != "":
			errs.Add(key, "%q %s", b, problem)
		case seen[b]:
			errs.Add(key, "%q is named twice", b)
		}
		seen[b] = true
	}
	if c.ClientID == "" || strings.ContainsFunc(c.ClientID, func(r rune) bool { return r <= ' ' || r > '~' }) {
		errs.Add("client_id", "%q must be a word of visible ASCII characters", c.ClientID)
	}
	for _, d := range []struct {
		key         string
		value       time.Duration
		least, most time.Duration
	}{
		{"dial_timeout", c.DialTimeout, 100 * time.Millisecond, 5 * time.Minute},
		{"request_timeout", c.RequestTimeout, 100 * time.Millisecond, 5 * time.Minute},
		// Metadata requests time out after it too: less would never see an answer.
		{"metadata_ttl", c.MetadataTTL, 100 * time.Millisecond, 5 * time.Minute},
		{"connection_max_age", c.ConnectionMaxAge, 10 * time.Second, 24 * time.Hour},
	} {
		if d.value < d.least || d.value > d.most {
			errs.Add(d.key, "%v must be between %v and %v", d.value, d.least, d.most)
		}
	}
	c.TLS.validate(&errs)
	c.SASL.validate(&errs, c.TLS.Enabled)
	return errs
}

func brokerProblem(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return "is not host:port"
	}
	if strings.ContainsAny(host, "/ ,") {
		return "has a host with characters that none may have: write host:port, without a scheme"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "has no port between 1 and 65535"
	}
	return ""
}

func (t TLS) validate(errs *setting.Errors) {
	if !t.Enabled {
		for _, f := range []struct{ key, value string }{
			{"tls.ca_file", t.CAFile},
			{"tls.cert_file", t.CertFile},
			{"tls.key_file", t.KeyFile},
			{"tls.server_name", t.ServerName},
		} {
			if f.value != "" {
				errs.Add(f.key, "is set but tls.enabled is false: turn TLS on or leave it out")
			}
		}
		return
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		errs.Add("tls.cert_file", "cert_file and key_file go together: set both or none")
	}
}

func (s SASL) validate(errs *setting.Errors, encrypted bool) {
	switch s.Mechanism {
	case "":
		if s.Username != "" || s.PasswordFile != "" {
			errs.Add("sasl.mechanism", "is empty although a login is set: %s, %s or %s", Plain, ScramSHA256, ScramSHA512)
		}
		return
	case Plain:
		if !encrypted && !s.AllowPlaintext {
			errs.Add("sasl.mechanism", "PLAIN without TLS sends the password readable: enable tls, use SCRAM, or set sasl.allow_plaintext")
		}
	case ScramSHA256, ScramSHA512:
	default:
		errs.Add("sasl.mechanism", "%q is unknown: %s, %s or %s", s.Mechanism, Plain, ScramSHA256, ScramSHA512)
	}
	if s.Username == "" {
		errs.Add("sasl.username", "is missing")
	}
	if s.PasswordFile == "" {
		errs.Add("sasl.password_file", "is missing: name a file that holds the password")
	}
}
