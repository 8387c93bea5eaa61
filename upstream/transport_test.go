package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/lab/authority"
	"github.com/contactsync/contactsync/metrics"
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

// serveTLS serves good answers with the certificate that is shown at the time.
func serveTLS(t *testing.T, shown *atomic.Pointer[tls.Config], called func()) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called()
		_, _ = w.Write(goodAnswer(batchOf("a")))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return shown.Load(), nil }}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
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
	s := serveTLS(t, &shown, func() { calls.Add(1) })
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
		{"of another host", showing(t, mine, "127.0.0.2", soon), "is for other names"},
		{"of another authority", showing(t, newAuthority(t), "127.0.0.1", soon), "not trusted"},
		{"TLS 1.1", old, "protocol version"},
		{"mended again", good, ""},
	} {
		shown.Store(step.config)
		c.Close()
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
	dead := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("the name server is away")
	}}
	dial := (&net.Dialer{Resolver: dead}).DialContext
	c := newTestClient(t, "http://api.test", func(_ *Config, deps *Deps) {
		deps.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) { return dial(ctx, network, addr) }
	})
	got := c.Send(t.Context(), batchOf("a"))
	if got.Kind != contactsync.Unavailable || got.Ambiguous || got.Detail != "connect: the host's name cannot be resolved" {
		t.Errorf("while the name server is away: %+v", got)
	}
	dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
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
		transport, err := newTransport(cfg, Deps{Metrics: &metrics.New(prometheus.NewRegistry()).Upstream})
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range []*http.Transport{transport.current.Load().kept, transport.current.Load().alone} {
			if (of.Proxy != nil) != want {
				t.Errorf("%s: has a proxy function: %v", proxy, of.Proxy != nil)
			}
		}
	}
}

// The authority behind the host's certificate is replaced: the new CA file counts without
// a restart, and one that cannot be used changes nothing.
func TestTransport_CAFileIsReplaced(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t), newAuthority(t)
	soon := time.Now().Add(time.Hour)
	var shown atomic.Pointer[tls.Config]
	shown.Store(showing(t, first, "127.0.0.1", soon))
	s := serveTLS(t, &shown, func() {})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, string(first.PEM))
	c := newTestClient(t, s.URL, func(cfg *Config, _ *Deps) { cfg.CAFile = ca })
	renew := func() {
		c.transport.renew(time.Now())
		c.Close() // idle connections, so that the next one shakes hands
	}
	for _, step := range []struct {
		name string
		ca   string
		cert *authority.Authority
		want contactsync.Kind
	}{
		{"the same", string(first.PEM), first, contactsync.Answered},
		{"no certificate", "-----BEGIN", first, contactsync.Answered},
		{"empty", "", first, contactsync.Answered},
		{"both", string(first.PEM) + string(second.PEM), second, contactsync.Answered},
		{"the new one only", string(second.PEM), second, contactsync.Answered},
		{"the host is late", string(second.PEM), first, contactsync.Unavailable},
	} {
		writeFile(t, ca, step.ca)
		shown.Store(showing(t, step.cert, "127.0.0.1", soon))
		renew()
		if got := c.Send(t.Context(), batchOf("a")); got.Kind != step.want {
			t.Errorf("%s: %v %s, want %v", step.name, got.Kind, got.Detail, step.want)
		}
	}
}

// The API knows the service by its certificate: each connection shows the one that the files
// hold, and one that cannot be used changes nothing.
func TestTransport_ClientCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	mine := newAuthority(t)
	settings := showing(t, mine, "127.0.0.1", time.Now().Add(time.Hour))
	settings.ClientAuth, settings.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	settings.ClientCAs.AppendCertsFromPEM(mine.PEM)
	var seen atomic.Value
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.TLS.PeerCertificates[0].Subject.CommonName)
		_, _ = w.Write(goodAnswer(batchOf("a")))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = settings
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca, certFile, keyFile := filepath.Join(dir, "ca"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writeFile(t, ca, string(mine.PEM))
	pair := func(name string, until time.Time) (cert, key string) {
		issued, err := mine.Issue(x509.Certificate{Subject: pkix.Name{CommonName: name}, NotAfter: until})
		if err != nil {
			t.Fatal(err)
		}
		certPEM, keyPEM, err := authority.PEM(issued)
		if err != nil {
			t.Fatal(err)
		}
		return string(certPEM), string(keyPEM)
	}
	put := func(cert, key string) {
		writeFile(t, certFile, cert)
		writeFile(t, keyFile, key)
	}
	soon := time.Now().Add(time.Hour)
	put(pair("first", soon))
	renewed := 0
	c := newTestClient(t, s.URL, func(cfg *Config, deps *Deps) {
		cfg.CAFile, cfg.CertFile, cfg.KeyFile = ca, certFile, keyFile
		deps.Renewed = func(string, string) { renewed++ }
	})
	ends := soon
	if n := testutil.CollectAndCount(c.metrics.FilesRefused); n != 4 {
		t.Errorf("%d files have a series from the start, want those of the settings", n)
	}
	send := func(name string, cert, key float64) {
		t.Helper()
		if got := testutil.ToFloat64(c.metrics.CertificateExpiry.WithLabelValues("upstream.cert_file")); got != float64(ends.Unix()) || testutil.CollectAndCount(c.metrics.CertificateExpiry) != 2 {
			t.Errorf("%s: the certificates are said to end at %v, want %v", name, got, ends.Unix())
		}
		used := func(f keyfile.Report) bool { return f.Setting == "upstream.cert_file" && f.Ends.Unix() == ends.Unix() }
		if files := c.Files(); !slices.ContainsFunc(files, used) {
			t.Errorf("%s: %+v, want a certificate that ends at %v", name, files, ends)
		}
		if got := c.Send(t.Context(), batchOf("a")); got.Kind != contactsync.Answered || seen.Load() != name {
			t.Errorf("%v %s: the API saw %v, want %s", got.Kind, got.Detail, seen.Load(), name)
		}
		for setting, unusable := range map[string]float64{"upstream.cert_file": cert, "upstream.key_file": key, "upstream.ca_file": 0} {
			if got := testutil.ToFloat64(c.metrics.FilesRefused.WithLabelValues(setting)); got != unusable {
				t.Errorf("%s: %v readings of %s were counted as unusable, want %v", name, got, setting, unusable)
			}
		}
	}
	send("first", 0, 0)
	second, _ := pair("second", soon)
	writeFile(t, certFile, second)
	c.readFilesNow()
	c.Close()
	send("first", 0, 1)
	put(pair("expired", time.Now().Add(-time.Minute)))
	c.readFilesNow()
	c.readFilesNow()
	c.Close()
	send("first", 2, 1)
	if n := strings.Count(c.log.String(), "previous ones stay in use"); n != 2 || !strings.Contains(c.log.String(), "expired at") {
		t.Errorf("%d faults were logged, want one line for each of the two:\n%s", n, c.log)
	}
	ends = soon.Add(-20 * time.Minute)
	put(pair("third", ends))
	c.readFilesNow() // and the connections are renewed
	send("third", 2, 1)
	if c.readFilesNow(); renewed != 1 {
		t.Errorf("the account was told of %d new certificates, want one", renewed)
	}
}

// readFilesNow reads the files as Run does when they have been left alone for a moment.
func (c *testClient) readFilesNow() { c.readFiles(time.Now().Add(time.Minute)) }

// A connection that works is not used for ever: a host's name moves to other addresses.
func TestTransport_ConnectionsHaveAGreatestAge(t *testing.T) {
	t.Parallel()
	var opened, closed atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(goodAnswer(batchOf("a")))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := newTestClient(t, s.URL, nil)
	send := func(want int64) {
		t.Helper()
		if got := c.Send(t.Context(), batchOf("a")); got.Kind != contactsync.Answered {
			t.Fatalf("%v %s", got.Kind, got.Detail)
		}
		if got := opened.Load(); got != want {
			t.Errorf("%d connections were made, want %d", got, want)
		}
	}
	send(1)
	c.transport.renew(time.Now().Add(connectionMaxAge - time.Minute))
	send(1)
	c.transport.renew(time.Now().Add(connectionMaxAge + time.Minute))
	send(2)
	for deadline := time.Now().Add(10 * time.Second); closed.Load() == 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // a real socket
	}
	if closed.Load() != 1 {
		t.Errorf("%d connections were closed, want the old one", closed.Load())
	}
}
