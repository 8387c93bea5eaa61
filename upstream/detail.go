package upstream

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
)

// minReportedSkew is the clock difference from which the detail of a 401 reports
// it. Less is covered by backdating tokens.
const minReportedSkew = tokenBackdate

// envelope describes an answer without its messages: what sent it, and what it is.
func envelope(resp *http.Response, size int, took time.Duration) string {
	return fmt.Sprintf("type=%s bytes=%d took=%v server=%s", contentClass(resp.Header.Get("Content-Type")), size,
		took.Round(time.Millisecond), serverClass(resp.Header.Get("Server")))
}

func contentClass(header string) string {
	media, _, _ := mime.ParseMediaType(header) // what has no media type has no class either
	switch {
	case header == "":
		return "none"
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		return "json"
	case media == "text/html" || media == "application/xhtml+xml":
		return "html"
	case strings.HasPrefix(media, "text/"):
		return "text"
	}
	return "other"
}

// servers are how gateways begin their Server header, and how they are called.
var servers = []struct{ prefix, class string }{
	{"cloudflare", "cloudflare"},
	{"awselb", "awselb"},
	{"akamai", "akamai"},
	{"nginx", "nginx"},
	{"openresty", "nginx"},
	{"envoy", "envoy"},
	{"istio-envoy", "envoy"},
}

func serverClass(header string) string {
	if header == "" {
		return "none"
	}
	header = strings.ToLower(header)
	for _, s := range servers {
		if strings.HasPrefix(header, s.prefix) {
			return s.class
		}
	}
	return "other"
}

// refusalDetail describes an answer that is not a 200 or 207, without its messages.
func refusalDetail(resp *http.Response) string {
	text := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	if resp.StatusCode/100 == 3 {
		text += ": redirects are not followed, check host"
	}
	if resp.StatusCode == http.StatusProxyAuthRequired { // of a host without TLS; see checkConnected for others
		text += ": the proxy asks for a login: " + proxyLogin("HTTP_PROXY")
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.StatusCode == http.StatusUnauthorized {
		if skew := time.Since(date).Round(time.Second); skew.Abs() > minReportedSkew {
			text += fmt.Sprintf(" (our clock is %v ahead of the API's)", skew)
		}
	}
	return text
}

// unusableDetail describes a 200 or 207 whose body could not be used, in the same way. Of err it takes
// only errors of our own: others quote the body.
func unusableDetail(status int, err error, body []byte) string {
	problem := "answer is not complete JSON"
	switch {
	case errors.Is(err, errForeignAnswer), errors.Is(err, errTooLong), errors.Is(err, errBomb), errors.Is(err, errEncoding):
		problem = err.Error()
	case len(body) == 0:
		problem = "answer is empty"
	}
	return fmt.Sprintf("%d: %s", status, problem)
}

// firstFailed returns the first failed row.
func firstFailed(rows []contactsync.Outcome) contactsync.Outcome {
	for i := range rows {
		if rows[i].Verdict == contactsync.Failed {
			return rows[i]
		}
	}
	return contactsync.Outcome{}
}
