package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"slices"
	"syscall"

	"github.com/contactsync/contactsync/internal/diagnose"
)

// faultOf says why a request had no complete answer. Errors of libraries quote what came: the
// line that is no HTTP, the names of a certificate, where a redirect leads. So their texts are
// not used, but for those that are known as a whole.
func faultOf(err error) string {
	var text string
	if proxy, ok := errors.AsType[*net.OpError](err); ok && proxy.Op == "proxyconnect" {
		text = "proxy: "
	}
	if refused, ok := errors.AsType[proxyRefusal](err); ok {
		return text + refused.Error()
	}
	for _, f := range faults {
		if f.is(err) {
			return text + f.text
		}
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return text + number.Error() // of a table, by its number
	}
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		if slices.Contains(knownTexts, cause.Error()) || fmt.Sprintf("%T", cause) == "tls.alert" { // by its number, likewise
			return text + cause.Error()
		}
		err = cause
	}
	return fmt.Sprintf("%sfailed (%T)", text, err)
}

// faults are the errors that are told apart, in the order in which they count.
var faults = []struct {
	text string
	is   func(error) bool
}{
	{errAnswerTimeout.Error(), is(errAnswerTimeout)},
	{"stopped", is(context.Canceled)},
	{"the host's certificate is for another name", diagnose.Is[x509.HostnameError]},
	{"the host's certificate is of an unknown authority", diagnose.Is[x509.UnknownAuthorityError]},
	{"the host's certificate is expired or not valid yet", func(err error) bool {
		invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
		return ok && invalid.Reason == x509.Expired
	}},
	{"the host's certificate is not valid", func(err error) bool {
		return diagnose.Is[x509.CertificateInvalidError](err) || diagnose.Is[*tls.CertificateVerificationError](err)
	}},
	{"the host does not speak TLS", diagnose.Is[tls.RecordHeaderError]},
	{"the host's name is not known", func(err error) bool {
		dns, ok := errors.AsType[*net.DNSError](err)
		return ok && dns.IsNotFound
	}},
	{"the host's name cannot be resolved", diagnose.Is[*net.DNSError]},
	{"connection refused", is(syscall.ECONNREFUSED)},
	{"connection reset", func(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) }},
	{"connection closed", func(err error) bool {
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
	}},
	{"timed out", is(os.ErrDeadlineExceeded)},
	{"timed out", func(err error) bool {
		timeout, ok := errors.AsType[net.Error](err)
		return ok && timeout.Timeout()
	}},
	{"the answer is not HTTP", diagnose.Is[textproto.ProtocolError]},
}

// knownTexts are errors of net/http and crypto/tls that have no type, and of ours.
var knownTexts = []string{
	errBodyClosed.Error(), errBodyLate.Error(), errNoCall.Error(),
	"http: server closed idle connection",
	"http: server gave HTTP response to HTTPS client",
	"net/http: HTTP/1.x transport connection broken",
	"net/http: TLS handshake timeout",
	"net/http: timeout awaiting response headers",
	"tls: server selected unsupported protocol version",
	"tls: protocol version not supported",
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}
