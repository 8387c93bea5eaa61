package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	switch {
	case errors.Is(err, errAnswerTimeout):
		return text + errAnswerTimeout.Error()
	case errors.Is(err, context.Canceled):
		return text + "stopped"
	}
	if what, ok := diagnose.Text(err); ok {
		return text + what
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

// knownTexts are errors of net/http and crypto/tls that have no type, and of ours.
var knownTexts = []string{
	errBodyClosed.Error(), errBodyLate.Error(), errNoCall.Error(),
	"http: server closed idle connection",
	"net/http: HTTP/1.x transport connection broken",
	"net/http: TLS handshake timeout",
	"net/http: timeout awaiting response headers",
	"tls: server selected unsupported protocol version",
	"tls: protocol version not supported",
}
