package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/authority"
)

func newAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// showing returns a configuration that shows a certificate for ip until the time given.
func showing(t *testing.T, a *authority.Authority, ip string, until time.Time) *tls.Config {
	t.Helper()
	pair, err := a.Issue(x509.Certificate{NotAfter: until, IPAddresses: []net.IP{net.ParseIP(ip)}})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// The host's certificate changes while the client runs. One that cannot be
// trusted is never spoken to; one that can be is, without a restart.
func TestSend_CertificateChanges(t *testing.T) {
	t.Parallel()
	mine := newAuthority(t)
	soon := time.Now().Add(time.Hour)
	good := showing(t, mine, "127.0.0.1", soon)
	old := showing(t, mine, "127.0.0.1", soon)
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
	writeFile(t, ca, string(mine.PEM))
	c := newTestClient(t, s.URL, func(cfg *Config, _ *Deps) { cfg.CAFile = ca })

	for _, step := range []struct {
		name   string
		config *tls.Config
		detail string // of the refusal; empty where the answer counts
	}{
		{"at the start", good, ""},
		{"renewed", showing(t, mine, "127.0.0.1", soon), ""},
		{"expired", showing(t, mine, "127.0.0.1", time.Now().Add(-time.Minute)), "expired"},
		{"mended", good, ""},
		{"of another host", showing(t, mine, "127.0.0.2", soon), "127.0.0.2"},
		{"of another authority", showing(t, newAuthority(t), "127.0.0.1", soon), "unknown authority"},
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

func TestTransport_ProxyOnlyIfConfigured(t *testing.T) {
	t.Parallel()
	for proxy, want := range map[string]bool{ProxyNone: false, ProxyEnvironment: true} {
		cfg := DefaultConfig()
		cfg.Proxy = proxy
		transport, err := newTransport(cfg)
		if err != nil || (transport.Proxy != nil) != want {
			t.Errorf("%s: has a proxy function: %v, %v", proxy, transport.Proxy != nil, err)
		}
	}
}
