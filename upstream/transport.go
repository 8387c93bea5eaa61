package upstream

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/metrics"
)

const (
	dialTimeout = 10 * time.Second
	tlsTimeout  = 10 * time.Second
	// idleTimeout is below the 60 s after which common load balancers drop an
	// idle connection, so that a request seldom meets a closed one.
	idleTimeout       = 30 * time.Second
	maxIdlePerHost    = 64       // connections kept for the next request
	maxHeaderBytes    = 64 << 10 // of an answer
	connectionBufSize = 64 << 10 // bytes per direction: a batch takes few writes
)

// connectionMaxAge bounds how long a connection is used: the host's name may have moved
// to other addresses.
const connectionMaxAge = 10 * time.Minute

// transport makes all requests. Its connections are given up for new ones when the
// file of a certificate or key changes, and at connectionMaxAge; what is in flight ends on the old ones.
type transport struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics.Upstream
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	current atomic.Pointer[connections]

	refused keyfile.Refused

	// Owned by the goroutine of Client.Run.
	files keyfile.Certificates
	since time.Time
}

// connections are those that are kept for further requests, and those that are made for one
// request each, alike in everything else.
type connections struct {
	kept, alone *http.Transport
	ends        map[string]time.Time // of the certificates that they are made with
}

func newTransport(cfg Config, deps Deps) (*transport, error) {
	t := &transport{cfg: cfg, log: deps.Log, metrics: deps.Metrics, dial: deps.Dial, since: time.Now()}
	if t.dial == nil {
		t.dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	var problems []setting.Error
	if t.files, problems = cfg.files().Read(t.since); len(problems) > 0 {
		return nil, joined(problems)
	}
	for key := range cfg.files().Files() {
		t.metrics.FilesRefused.WithLabelValues("upstream." + key) // starts at zero, so that increase() sees the first
	}
	t.current.Store(t.connections())
	t.showExpiry()
	return t, nil
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.current.Load().kept.RoundTrip(r)
}

// roundTripAlone makes a request on a connection that no other request has used or will use.
func (t *transport) roundTripAlone(r *http.Request) (*http.Response, error) {
	return t.current.Load().alone.RoundTrip(r)
}

// CloseIdleConnections closes those that no request uses.
func (t *transport) CloseIdleConnections() { t.current.Load().kept.CloseIdleConnections() }

// renew takes up new connections where they are due. Files that cannot be used
// change nothing. It reports whether the files have changed.
func (t *transport) renew(now time.Time) (changed bool) {
	files, problems := t.cfg.files().Read(now)
	news := t.refused.Note(now, "upstream", problems)
	switch err := joined(problems); {
	case err != nil:
		for _, p := range problems {
			t.metrics.FilesRefused.WithLabelValues("upstream." + p.Key).Inc()
		}
		if news {
			t.log.Error("certificate files cannot be used, previous ones stay in use", "err", err)
		}
		files = t.files
	case news:
		t.log.Info("certificate files can be used again")
	}
	changed = files.Digest != t.files.Digest
	if !changed && now.Sub(t.since) < connectionMaxAge {
		return false
	}
	if changed {
		t.log.Info("certificate files changed, new connections are made with them")
	}
	t.files, t.since = files, now
	t.showExpiry()
	t.current.Swap(t.connections()).kept.CloseIdleConnections() // one in use becomes idle, and times out
	return changed
}

// showExpiry shows when certificates end, if there are any.
func (t *transport) showExpiry() {
	for key, end := range t.files.Ends {
		t.metrics.CertificateExpiry.WithLabelValues("upstream." + key).Set(float64(end.Unix()))
	}
}

// connections returns new ones for the files as they were read last. They speak HTTP/1.1 only:
// a dead HTTP/2 connection can swallow requests for minutes, and HTTP/2 lets
// the transport resend a request by itself.
func (t *transport) connections() *connections {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	kept := &http.Transport{
		Protocols:              protocols,
		DialContext:            t.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.files.Roots, Certificates: t.files.Own},
		TLSHandshakeTimeout:    tlsTimeout,
		DisableCompression:     true, // readBody bounds what it decompresses, net/http does not
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        connectionBufSize,
		ReadBufferSize:         connectionBufSize,
	}
	if t.cfg.Proxy == ProxyEnvironment {
		kept.Proxy, kept.OnProxyConnectResponse = http.ProxyFromEnvironment, checkConnected
	}
	alone := kept.Clone()
	alone.DisableKeepAlives = true
	return &connections{kept, alone, t.files.Ends}
}
