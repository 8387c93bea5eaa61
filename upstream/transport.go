package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
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

// transport makes all requests. Its connections are given up for new ones when the CA
// file changes, and at connectionMaxAge; what is in flight ends on the old ones.
type transport struct {
	cfg     Config
	log     *slog.Logger
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	current atomic.Pointer[connections]

	// Owned by the goroutine of Client.Run.
	ca    []byte
	since time.Time
	fault string // why the CA file could not be used when it was read last
}

// connections are those that are kept for further requests, and those that are made for one
// request each, alike in everything else.
type connections struct{ kept, alone *http.Transport }

func newTransport(cfg Config, deps Deps) (*transport, error) {
	t := &transport{cfg: cfg, log: deps.Log, dial: deps.Dial, since: time.Now()}
	if t.dial == nil {
		t.dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	var err error
	if t.ca, err = readCA(cfg.CAFile); err != nil {
		return nil, err
	}
	t.current.Store(t.connections())
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

// renew takes up new connections where they are due. A CA file that cannot be used
// changes nothing.
func (t *transport) renew(now time.Time) {
	ca, err := readCA(t.cfg.CAFile)
	if err != nil {
		if fault := err.Error(); fault != t.fault {
			t.fault = fault
			t.log.Warn("the CA file cannot be used: the certificates that were read before are trusted", "err", err)
		}
		ca = t.ca
	} else {
		t.fault = ""
	}
	changed := !bytes.Equal(ca, t.ca)
	if !changed && now.Sub(t.since) < connectionMaxAge {
		return
	}
	if changed {
		t.log.Info("CA file read again", "file", t.cfg.CAFile)
	}
	t.ca, t.since = ca, now
	t.current.Swap(t.connections()).kept.CloseIdleConnections() // one in use becomes idle, and times out
}

// readCA returns the content of the CA file, nil where there is none.
func readCA(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read ca_file %s: no certificate in PEM form in it", file)
	}
	return pem, nil
}

// connections returns new ones for the CA file as it was read last. They speak HTTP/1.1 only:
// a dead HTTP/2 connection can swallow requests for minutes, and HTTP/2 lets
// the transport resend a request by itself.
func (t *transport) connections() *connections {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	kept := &http.Transport{
		Protocols:              protocols,
		DialContext:            t.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    tlsTimeout,
		DisableCompression:     true, // readBody bounds what it decompresses, net/http does not
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        connectionBufSize,
		ReadBufferSize:         connectionBufSize,
	}
	if t.cfg.Proxy == ProxyEnvironment {
		kept.Proxy = http.ProxyFromEnvironment
	}
	if t.ca != nil {
		kept.TLSClientConfig.RootCAs = x509.NewCertPool()
		kept.TLSClientConfig.RootCAs.AppendCertsFromPEM(t.ca) // readCA has looked at it
	}
	alone := kept.Clone()
	alone.DisableKeepAlives = true
	return &connections{kept, alone}
}
