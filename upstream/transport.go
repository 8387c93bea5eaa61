package upstream

import (
	"bytes"
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
	current atomic.Pointer[http.Transport]

	// Owned by the goroutine of Client.Run.
	ca    []byte
	since time.Time
	fault string // why the CA file could not be used when it was read last
}

func newTransport(cfg Config, log *slog.Logger) (*transport, error) {
	t := &transport{cfg: cfg, log: log, since: time.Now()}
	var err error
	if t.ca, err = readCA(cfg.CAFile); err != nil {
		return nil, err
	}
	t.current.Store(newHTTPTransport(cfg, t.ca))
	return t, nil
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.current.Load().RoundTrip(r)
}

// CloseIdleConnections closes those that no request uses.
func (t *transport) CloseIdleConnections() { t.current.Load().CloseIdleConnections() }

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
	t.current.Swap(newHTTPTransport(t.cfg, ca)).CloseIdleConnections() // one in use becomes idle, and times out
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

// newHTTPTransport returns a transport without connections. It speaks HTTP/1.1 only:
// a dead HTTP/2 connection can swallow requests for minutes, and HTTP/2 lets
// the transport resend a request by itself.
func newHTTPTransport(cfg Config, ca []byte) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		Protocols:              protocols,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    tlsTimeout,
		DisableCompression:     true, // readBody bounds what it decompresses, net/http does not
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        connectionBufSize,
		ReadBufferSize:         connectionBufSize,
	}
	if cfg.Proxy == ProxyEnvironment {
		t.Proxy = http.ProxyFromEnvironment
	}
	if ca != nil {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		t.TLSClientConfig.RootCAs.AppendCertsFromPEM(ca) // readCA has looked at it
	}
	return t
}
