package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/diagnose"
	"github.com/contactsync/contactsync/internal/setting"
)

const (
	listSuffix = "/contacts"
	// maxSkew is how far the API's clock may be from this machine's before it is told: tokens
	// count from tokenBackdate ago on.
	maxSkew = tokenBackdate
)

// Probe asks each host with each of its credentials for one contact, and returns what is
// wrong by the setting to change. Nothing of an answer is read but its status and the class of
// its content; nothing is changed. The calls count against the budgets.
//
// They need the name of a stream: the first that the credentials' patterns name, or the
// given one where the credentials are for it. Without one the host is only reached,
// without a token.
func (c *Client) Probe(ctx context.Context, stream string) (faults, notes []setting.Error) {
	reached := map[string]bool{}
	for i, a := range c.cfg.Accounts {
		acc := c.accounts[a.ID]
		acc.gate.SetShare(time.Now(), 1, 1)
		a.each(func(where, app string, _ Credentials) {
			p := probe{c: c, acc: acc, app: app, host: fmt.Sprintf("accounts[%d].host", i), credentials: fmt.Sprintf("accounts[%d].%s", i, where)}
			name := c.streamOf(a, app, stream)
			if name == "" {
				p.note(p.credentials, "not tried: the settings name no stream of theirs. Give one with --stream")
				if reached[acc.base.String()] {
					name = "-"
				}
			}
			if name != "-" {
				p.run(ctx, name)
			}
			reached[acc.base.String()] = true
			faults, notes = append(faults, p.faults...), append(notes, p.notes...)
		})
	}
	return faults, notes
}

// streamOf returns a stream that credentials sign for; empty where none is known.
func (c *Client) streamOf(a Account, app, given string) string {
	patterns := a.Streams
	for _, one := range a.Apps {
		if one.Name == app {
			patterns = one.Streams
		}
	}
	for _, name := range append([]string{given}, patterns...) {
		if _, exact := literal(name); !exact {
			continue
		}
		if account, ok := c.router.Route(name, a.ID); ok && account == a.ID && c.router.Credential(a.ID, name) == app {
			return name
		}
	}
	return ""
}

// probe is the call for some credentials.
type probe struct {
	c                 *Client
	acc               *account
	app               string
	host, credentials string // keys of the settings

	faults, notes setting.Errors
}

func (p *probe) fault(key, format string, args ...any) { p.faults.Add(key, format, args...) }
func (p *probe) note(key, format string, args ...any)  { p.notes.Add(key, format, args...) }

// run makes the call; an empty stream is one to the host alone, without a token.
func (p *probe) run(ctx context.Context, stream string) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.c.cfg.Timeout, errAnswerTimeout)
	defer cancel()
	req := &http.Request{Method: http.MethodHead, URL: p.acc.base.JoinPath("/"), Host: p.acc.base.Host, Header: http.Header{"User-Agent": {p.c.agent}}}
	if stream != "" {
		token, err := p.acc.tokens[p.app].token(time.Now())
		if err != nil {
			p.fault(p.credentials, "no token can be signed")
			return
		}
		u, _ := target(p.acc.base, stream) // it is a name
		u.Path = strings.TrimSuffix(u.Path, pathSuffix) + listSuffix
		u.RawQuery = url.Values{"limit": {"1"}}.Encode()
		req.Method, req.URL = http.MethodGet, u
		req.Header["auth"], req.Header["accountId"] = []string{token}, []string{p.acc.cfg.ID}
		req.Header["Accept"] = []string{"application/json"}
	}
	report, admitted := p.admit(ctx, stream)
	if !admitted {
		return
	}
	start := time.Now()
	resp, err := p.c.transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		report(time.Now(), contactsync.Result{Kind: contactsync.Unavailable})
		p.unreached(cmp.Or(ctx.Err(), err)) // the transport's error for a time-out has no type
		return
	}
	_ = resp.Body.Close()
	report(time.Now(), contactsync.Result{Kind: contactsync.Answered, Status: resp.StatusCode})
	skew := p.skew(resp, start)
	if stream != "" {
		p.answered(resp, skew)
	}
}

// admit waits for the budget.
func (p *probe) admit(ctx context.Context, stream string) (report func(time.Time, contactsync.Result) time.Time, ok bool) {
	for {
		report, again := p.acc.gate.Admit(time.Now(), stream, false)
		if report != nil {
			return report, true
		}
		if sleepUntil(ctx, again) != nil {
			p.note(p.credentials, "not tried: the account's budget, or the host's circuit breaker after another failure, leaves no call")
			return nil, false
		}
	}
}

// unreached says why there is no answer. The text of an error may quote what was received.
func (p *probe) unreached(err error) {
	if refused, ok := errors.AsType[proxyRefusal](err); ok {
		p.fault("proxy", "%v", refused)
		return
	}
	host, name := p.host, p.acc.base.Host
	if proxied, ok := errors.AsType[*net.OpError](err); ok && proxied.Op == "proxyconnect" {
		host, name = "proxy", "the proxy"
	}
	where := diagnose.Settings{Host: host, CA: "ca_file", Cert: "cert_file"}
	if key, problem, ok := diagnose.Connection(err, where); ok {
		p.fault(key, "%s: %s", name, problem)
		return
	}
	p.fault(host, "%s: no answer that is HTTP: look at host, port and proxy", name)
}

// answered says what is wrong by the class of an answer.
func (p *probe) answered(resp *http.Response, skew time.Duration) {
	status, class := resp.StatusCode, contentClass(resp.Header.Get("Content-Type"))
	switch {
	case status == http.StatusOK && class == "json":
	case status == http.StatusOK:
		p.fault(p.host, "answers 200 with content of type %s in place of JSON: a portal or another service, not the API", class)
	case status == http.StatusUnauthorized && skew != 0:
		p.fault(p.credentials, "refused (401), and this machine's clock is %s: set it by NTP, as tokens count for minutes", skewText(skew))
	case status == http.StatusUnauthorized:
		p.fault(p.credentials, "refused (401): correct client id and secret; the app needs the scope Configuration, has to be published since, and be one of the stream's account")
	case status == http.StatusForbidden && class == "json":
		p.fault(p.credentials, "forbidden (403): give the app the scope Configuration and publish it")
	case status == http.StatusForbidden:
		p.fault(p.host, "forbidden (403, %s): a gateway or firewall before the API; have it let this machine through", class)
	case status == http.StatusNotFound, status == http.StatusGone:
		p.fault(p.host, "nothing at this path (%d): correct the host and its base path, or the stream's name", status)
	case status == http.StatusBadRequest, status == http.StatusPreconditionFailed:
		p.fault(p.credentials, "the request is refused (%d): correct the stream's name, or the account's id", status)
	case status == http.StatusTooManyRequests:
		p.note(p.credentials, "not tried to the end: the account's limit is reached (429)")
	case status >= 300 && status < 400:
		p.fault(p.host, "leads elsewhere (%d): name the host that it leads to, with https", status)
	case status == http.StatusProxyAuthRequired:
		p.fault("proxy", "asks for a login (407): %s", proxyLogin("HTTP_PROXY"))
	case status >= 500:
		p.fault(p.host, "fails (%d): it is down, or the gateway before it does not reach it", status)
	default:
		p.fault(p.host, "answers with status %d, which the API does not", status)
	}
}

// skew returns how far this machine's clock is ahead of the API's, 0 where it is near or
// not known, and notes it.
func (p *probe) skew(resp *http.Response, start time.Time) time.Duration {
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0
	}
	skew := start.Sub(theirs).Round(time.Second) // at least, where it is ahead: the answer came later
	if skew < 0 {
		skew = min(0, time.Since(theirs).Round(time.Second))
	}
	if skew.Abs() <= maxSkew {
		return 0
	}
	p.note(p.host, "this machine's clock is %s: tokens are believed only while clocks agree", skewText(skew))
	return skew
}

func skewText(skew time.Duration) string {
	if skew < 0 {
		return fmt.Sprintf("%v behind the API's", -skew)
	}
	return fmt.Sprintf("%v ahead of the API's", skew)
}
