package upstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"contactsync"
)

// authority signs certificates for the tests.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority of the tests"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// server returns a configuration that shows a certificate for ip until the time given.
func (a *authority) server(t *testing.T, ip string, until time.Time) *tls.Config {
	t.Helper()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, IPAddresses: []net.IP{net.ParseIP(ip)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: a.key}}}
}

// The host's certificate changes while the client runs. One that cannot be
// trusted is never spoken to; one that can be is, without a restart.
func TestSend_CertificateChanges(t *testing.T) {
	t.Parallel()
	mine := newAuthority(t)
	soon := time.Now().Add(time.Hour)
	good := mine.server(t, "127.0.0.1", soon)
	old := mine.server(t, "127.0.0.1", soon)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11

	var shown atomic.Pointer[tls.Config]
	var calls atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		_, _ = w.Write(goodAnswer(batchOf("a")))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return shown.Load(), nil }}
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mine.cert.Raw})))
	c := newTestClient(t, s.URL, func(cfg *Config, _ *Deps) { cfg.CAFile = ca })

	for _, step := range []struct {
		name   string
		config *tls.Config
		detail string // of the refusal; empty where the answer counts
	}{
		{"at the start", good, ""},
		{"renewed", mine.server(t, "127.0.0.1", soon), ""},
		{"expired", mine.server(t, "127.0.0.1", time.Now().Add(-time.Minute)), "expired"},
		{"mended", good, ""},
		{"of another host", mine.server(t, "127.0.0.2", soon), "127.0.0.2"},
		{"of another authority", newAuthority(t).server(t, "127.0.0.1", soon), "unknown authority"},
		{"TLS 1.1", old, "protocol version"},
		{"mended again", good, ""},
	} {
		shown.Store(step.config)
		c.transport.(*http.Transport).CloseIdleConnections()
		before := calls.Load()
		got := c.Send(t.Context(), batchOf("a"))
		reached := calls.Load() - before
		if step.detail == "" {
			if got.Kind != contactsync.Answered || reached != 1 {
				t.Errorf("%s: %d calls, %+v", step.name, reached, got)
			}
			continue
		}
		if got.Kind != contactsync.Unavailable || got.Ambiguous || !strings.HasPrefix(got.Detail, "connect: ") || !strings.Contains(got.Detail, step.detail) || reached != 0 {
			t.Errorf("%s: %d calls, %+v", step.name, reached, got)
		}
	}
}

// A name that cannot be resolved is an outage, and it ends with it.
func TestSend_NameIsNotResolved(t *testing.T) {
	t.Parallel()
	addr := strings.TrimPrefix(serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(goodAnswer(batchOf("a"))) }), "http://")
	transport, err := newTransport(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	c := newTestClient(t, "http://api.test", func(_ *Config, deps *Deps) { deps.Transport = transport })
	t.Cleanup(transport.CloseIdleConnections)
	dead := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("the name server is away")
	}}
	transport.DialContext = (&net.Dialer{Resolver: dead}).DialContext
	got := c.Send(t.Context(), batchOf("a"))
	if got.Kind != contactsync.Unavailable || got.Ambiguous || !strings.HasPrefix(got.Detail, "connect: ") || !strings.Contains(got.Detail, "api.test") {
		t.Errorf("while the name server is away: %+v", got)
	}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	if got := c.Send(t.Context(), batchOf("a")); got.Kind != contactsync.Answered {
		t.Errorf("once it is back: %+v", got)
	}
}
