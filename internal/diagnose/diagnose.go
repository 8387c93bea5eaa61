// Package diagnose says why a connection could not be made, or broke, and what to change. Errors choose
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
	"net/textproto"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Settings are the keys that an answer may point to.
type Settings struct {
	Host string // of the address, and of whether it is called with TLS
	CA   string
	Cert string
}

// faults are the errors of connections that are told apart, in the order in which they count.
var faults = []struct {
	is   func(error) bool
	text string
	// To do about it, with the setting that it is about; empty where that is not known.
	at func(Settings) string
	do string
}{
	{Is[x509.UnknownAuthorityError], "the host's certificate is signed by an authority that is not trusted", ca, "name a file with that authority's certificate"},
	{Is[x509.HostnameError], "the host's certificate is for other names", host, "call it by a name in its certificate"},
	{func(err error) bool {
		invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
		return ok && invalid.Reason == x509.Expired
	}, "the host's certificate has expired or does not count yet", host, "renew it there, or look at this machine's clock"},
	{func(err error) bool {
		return Is[x509.CertificateInvalidError](err) || Is[*tls.CertificateVerificationError](err)
	}, "the host's certificate is not one for servers, or not valid", host, "replace it there"},
	{func(err error) bool { return Is[tls.RecordHeaderError](err) || errors.Is(err, http.ErrSchemeMismatch) }, "the port does not speak TLS", host, "name the one that does, or turn TLS off"},
	{func(err error) bool {
		dns, ok := errors.AsType[*net.DNSError](err)
		return ok && dns.IsNotFound
	}, "the host's name is not known", host, "correct it, or ask the name servers of this machine"},
	{Is[*net.DNSError], "the host's name cannot be resolved", host, "correct it, or ask the name servers of this machine"},
	{is(syscall.ECONNREFUSED), "connection refused", host, "nothing listens there: correct host and port, or start it"},
	{is(syscall.EHOSTUNREACH, syscall.ENETUNREACH), "no route leads there", host, "look at address, network and firewall"},
	{func(err error) bool {
		timeout, ok := errors.AsType[net.Error](err)
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || ok && timeout.Timeout()
	}, "timed out", host, "no answer in time: look at host and port, and at firewalls and network policies between"},
	{is(syscall.ECONNRESET, syscall.EPIPE), "connection reset", host, closedDo},
	{is(io.EOF, io.ErrUnexpectedEOF, net.ErrClosed), "connection closed", host, closedDo},
	{Is[textproto.ProtocolError], "the answer is not HTTP", nil, ""},
}

const closedDo = "no answer came: the port is another one's, or asks for TLS or a login that is not configured, or the other way round"

func ca(s Settings) string   { return s.CA }
func host(s Settings) string { return s.Host }

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
}

// Text says what an error of a connection is; ok is false for one that it does not know.
func Text(err error) (text string, ok bool) {
	for _, f := range faults {
		if f.is(err) {
			return f.text, true
		}
	}
	return "", false
}

// Connection returns the setting that an error of a connection points to, and what is
// wrong. It returns ok false for an error that it does not know.
func Connection(err error, s Settings) (key, problem string, ok bool) {
	if remote, _ := errors.AsType[*net.OpError](err); remote != nil && remote.Op == "remote error" {
		return ofAlert(remote.Err, s)
	}
	for _, f := range faults {
		if f.is(err) && f.at != nil {
			return f.at(s), f.text + ": " + f.do, true
		}
	}
	return "", "", false
}

// Closed reports whether the other end has closed the connection.
func Closed(err error) bool {
	return is(io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE)(err)
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
