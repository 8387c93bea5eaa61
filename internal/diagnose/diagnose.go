// Package diagnose says why a connection could not be made, and what to change. Errors choose
// among its sentences by their type: their own texts quote what the other end sent.
package diagnose

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
)

// Settings are the keys that an answer may point to.
type Settings struct {
	Host string // of the address, and of whether it is called with TLS
	CA   string
	Cert string
}

// Connection returns the setting that an error of a connection points to, and what is
// wrong. It returns ok false for an error that it does not know.
func Connection(err error, s Settings) (key, problem string, ok bool) {
	if key, problem, ok = ofCertificates(err, s); ok {
		return key, problem, true
	}
	remote, _ := errors.AsType[*net.OpError](err)
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case remote != nil && remote.Op == "remote error":
		return ofAlert(remote.Err, s)
	case Is[tls.RecordHeaderError](err), errors.Is(err, http.ErrSchemeMismatch):
		return s.Host, "the port does not speak TLS: name the one that does, or turn TLS off", true
	case Is[*net.DNSError](err):
		return s.Host, "the host's name is not resolved: correct it, or ask the name servers of this machine", true
	case errors.Is(err, syscall.ECONNREFUSED):
		return s.Host, "nothing listens there: correct host and port, or start it", true
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return s.Host, "no route leads there: look at address, network and firewall", true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), timeout != nil && timeout.Timeout():
		return s.Host, "no answer in time: look at host and port, and at firewalls and network policies between", true
	case Closed(err):
		return s.Host, "the connection is closed without an answer: the port is another one's, or asks for TLS or a login that is not configured, or the other way round", true
	}
	return "", "", false
}

// Closed reports whether the other end has closed the connection.
func Closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// ofCertificates is about the certificate of the other end.
func ofCertificates(err error, s Settings) (key, problem string, ok bool) {
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case Is[x509.UnknownAuthorityError](err):
		return s.CA, "the host's certificate is signed by an authority that is not trusted: name a file with that authority's certificate", true
	case Is[x509.HostnameError](err):
		return s.Host, "the host's certificate is for other names: call it by a name in its certificate", true
	case isInvalid && invalid.Reason == x509.Expired:
		return s.Host, "the host's certificate has expired or does not count yet: renew it there, or look at this machine's clock", true
	case isInvalid:
		return s.Host, "the host's certificate is not one for servers, or not valid: replace it there", true
	}
	return "", "", false
}

// ofAlert is about what the other end says of our side. Its words are those of crypto/tls.
func ofAlert(err error, s Settings) (key, problem string, ok bool) {
	switch text := err.Error(); {
	case strings.Contains(text, "certificate"), strings.Contains(text, "access denied"):
		return s.Cert, "the host refuses the service's certificate: it asks for one of an authority that it trusts, which has not expired", true
	case strings.Contains(text, "protocol version"):
		return s.Host, "the host does not speak TLS 1.2 or newer: enable it there", true
	}
	return s.Host, "the host ends the TLS handshake: compare the ciphers and names that it takes", true
}

// Is reports whether an error is, or wraps, one of a type.
func Is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// SpeaksTLS reports whether a port answers a TLS handshake. It sends nothing else, and does
// not ask who answers.
func SpeaksTLS(ctx context.Context, address string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	alert, _ := errors.AsType[*net.OpError](err)
	return err == nil || alert != nil && alert.Op == "remote error"
}
