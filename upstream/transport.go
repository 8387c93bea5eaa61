package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
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

// newTransport returns the transport of all requests. It speaks HTTP/1.1 only:
// a dead HTTP/2 connection can swallow requests for minutes, and HTTP/2 lets
// the transport resend a request by itself.
func newTransport(cfg Config) (*http.Transport, error) {
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
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read ca_file %s: no certificate in PEM form in it", cfg.CAFile)
		}
	}
	return t, nil
}
