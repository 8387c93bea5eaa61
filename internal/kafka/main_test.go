package kafka_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/authority"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// newCluster starts a broker in this process.
func newCluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

// configFor returns settings that reach the addresses and give up soon.
func configFor(brokers ...string) kafka.Config {
	cfg := kafka.DefaultConfig()
	cfg.Brokers = brokers
	cfg.DialTimeout = 5 * time.Second
	cfg.RequestTimeout = 5 * time.Second
	return cfg
}

func newClient(t *testing.T, cfg kafka.Config, topics ...string) *kafka.Client {
	t.Helper()
	if faults := cfg.Validate(); len(faults) > 0 {
		t.Fatalf("settings of the test: %v", faults)
	}
	c, err := kafka.New(cfg, slog.New(slog.DiscardHandler), topics...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// write puts content into a new file, or replaces an old one, and returns its path.
func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ca is an authority for brokers and clients.
type ca struct{ *authority.Authority }

func newAuthority(t *testing.T) ca {
	t.Helper()
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	return ca{a}
}

// certificate is one for a name, and for the loopback addresses where it is the broker's.
func (a ca) certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	template := x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}
	if name == "broker" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	pair, err := a.Issue(template)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// issue returns a certificate and its key in PEM form.
func (a ca) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	cert, key, err := authority.PEM(a.certificate(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// brokerTLS is the broker's side, with a certificate for name.
func (a ca) brokerTLS(t *testing.T, name string) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{a.certificate(t, name)}}
}

func portOf(t *testing.T, address string) int32 {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}
