package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/metrics"
)

// Deps are what a Client needs of the program around it.
type Deps struct {
	Log     *slog.Logger
	Metrics *metrics.Upstream
	Version string // of the service, for the User-Agent header
	// Transport makes the requests instead of the client's own, in tests.
	Transport http.RoundTripper
}

// Client makes attempts. Safe for concurrent use.
type Client struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics.Upstream
	agent     string
	transport http.RoundTripper
	accounts  map[string]*account
	hosts     map[string]*url.URL // by name, for Probe
	router    *Router
	table     []Rule
	redactor  *redactor
	answers   *answers
	bodies    bodies
	buffers   sync.Pool // of *bytes.Buffer, for answers
}

// account is what belongs to one account while the service runs.
type account struct {
	cfg    Account
	base   *url.URL
	tokens *tokenSource
	gate   *Gate
}

// New returns a client, or every fault of its settings and of the files that
// they name, joined.
func New(cfg Config, deps Deps) (*Client, error) {
	cfg.SetDefaults()
	var faults []error
	for _, f := range cfg.Validate() {
		faults = append(faults, fmt.Errorf("%s: %s", f.Key, f.Problem))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	for _, f := range cfg.CheckFiles() {
		faults = append(faults, fmt.Errorf("%s: %s", f.Key, f.Problem))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	transport := deps.Transport
	if transport == nil {
		own, err := newTransport(cfg)
		if err != nil {
			return nil, err
		}
		transport = own
	}
	redactor := newRedactor()
	c := &Client{
		cfg: cfg, log: deps.Log, metrics: deps.Metrics, agent: "contactsync/" + deps.Version,
		transport: transport, accounts: map[string]*account{}, hosts: map[string]*url.URL{},
		router: NewRouter(cfg.Accounts), table: Table(),
		redactor: redactor, answers: newAnswers(cfg.Answer, redactor),
	}
	breakers := map[string]*breaker{}
	for _, a := range cfg.Accounts {
		c.addAccount(a, breakers)
	}
	return c, nil
}

func (c *Client) addAccount(a Account, breakers map[string]*breaker) {
	base, _ := parseHost(a.Host, a.AllowPlaintext) // validated
	host := base.String()
	c.hosts[host] = base
	if breakers[host] == nil {
		breakers[host] = newBreaker(base.Host, c.cfg.Breaker, c.log, c.metrics.Breaker.WithLabelValues(base.Host))
	}
	for _, k := range contactsync.Kinds() {
		c.metrics.Requests.WithLabelValues(a.ID, k.String()) // starts at zero, so that rate() sees the first
	}
	tokens := &tokenSource{account: a.ID, cfg: a.Credentials, log: c.log, issued: c.metrics.TokensIssued}
	tokens.reload()
	a.Credentials.warnOpenFiles(c.log, a.ID)
	if a.AllowPlaintext && base.Scheme == "http" {
		c.log.Warn("host is called unencrypted", "account", a.ID, "host", host)
	}
	now := time.Now()
	gate := &Gate{
		breaker: breakers[host],
		budget:  newBudget(a.Budget, c.cfg.ThrottleMax, now),
		gauges: gateGauges{
			left:      c.metrics.BudgetRemaining.WithLabelValues(a.ID),
			share:     c.metrics.BudgetShare.WithLabelValues(a.ID),
			throttled: c.metrics.ThrottleRemaining.WithLabelValues(a.ID),
		},
	}
	gate.observe(now)
	c.accounts[a.ID] = &account{cfg: a, base: base, tokens: tokens, gate: gate}
}

// CheckFiles returns the faults of the files that the settings name. It
// expects settings without a fault of their own.
func (c Config) CheckFiles() []setting.Error {
	var bad faultList
	for i, a := range c.Accounts {
		if _, err := readKey(a.Credentials); err != nil {
			bad.add(fmt.Sprintf("accounts[%d].credentials", i), "%v", err)
		}
	}
	if _, err := newTransport(c); err != nil {
		bad.add("ca_file", "%v", err)
	}
	return bad
}

// Gate returns the gate of an account; ok is false for one that is not configured.
func (c *Client) Gate(account string) (gate *Gate, ok bool) {
	if a := c.accounts[account]; a != nil {
		return a.gate, true
	}
	return nil, false
}

// Route returns the account of a stream; see Router.
func (c *Client) Route(stream, accountHint string) (accountID string, ok bool) {
	return c.router.Route(stream, accountHint)
}

// SetShare tells every account's budget how many of all partitions this
// replica owns.
func (c *Client) SetShare(now time.Time, owned, all int) {
	for _, a := range c.accounts {
		a.gate.SetShare(now, owned, all)
	}
}

// Close lets go of idle connections.
func (c *Client) Close() error {
	if t, ok := c.transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	return nil
}

// Probe tells which hosts cannot be reached: it returns one error for each.
// Any HTTP answer will do. It sends no token.
func (c *Client) Probe(ctx context.Context) []error {
	var errs []error
	for _, host := range slices.Sorted(maps.Keys(c.hosts)) {
		if err := c.probe(ctx, c.hosts[host]); err != nil {
			errs = append(errs, fmt.Errorf("reach %s: %s", host, c.redactor.excerpt(plain(err), nil, nil)))
		}
	}
	return errs
}

func (c *Client) probe(ctx context.Context, base *url.URL) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errNoAnswer)
	defer cancel()
	u := *base
	u.Path = "/"
	req := &http.Request{Method: http.MethodHead, URL: &u, Host: u.Host, Header: http.Header{"User-Agent": {c.agent}}}
	resp, err := c.transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return resp.Body.Close()
}

// buffer returns an empty buffer for an answer; release gives it back.
func (c *Client) buffer() *bytes.Buffer {
	if buf, ok := c.buffers.Get().(*bytes.Buffer); ok {
		buf.Reset()
		return buf
	}
	return new(bytes.Buffer)
}

func (c *Client) release(buf *bytes.Buffer) {
	if buf.Cap() <= keptBuffer {
		c.buffers.Put(buf)
	}
}
