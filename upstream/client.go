package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/metrics"
)

// Deps are what a Client needs from the program around it.
type Deps struct {
	Log     *slog.Logger
	Metrics *metrics.Upstream
	Version string // of the service, for the User-Agent header
	// Renewed is called when the credentials of an account have changed, or those of one of its apps; nil where nobody asks.
	Renewed func(account, app string)
	// Dial replaces the network, in tests.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client sends batches. Safe for concurrent use.
type Client struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics.Upstream
	agent     string
	renewed   func(account, app string)
	transport *transport
	accounts  map[string]*account
	router    *Router
	table     []Rule
	speaker   *speaker
	kept      kept
	answers   *answerReader
	bodies    bodyPool
	buffers   bufferPool
	reading   *reading
}

// account is the runtime state of one account.
type account struct {
	cfg    Account
	base   *url.URL
	tokens map[string]*tokenSource // by the name of the app; empty for the account's own
	gate   *Gate
}

// New returns a client. The error joins all errors of the settings, or of the
// files that they name.
func New(cfg Config, deps Deps) (*Client, error) {
	cfg.SetDefaults()
	if err := joined(cfg.Validate()); err != nil {
		return nil, err
	}
	if err := joined(cfg.CheckFiles()); err != nil {
		return nil, err
	}
	transport, err := newTransport(cfg, deps)
	if err != nil {
		return nil, err
	}
	speaker, err := newSpeaker(cfg.Answer)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, log: deps.Log, metrics: deps.Metrics, agent: "contactsync/" + deps.Version, renewed: deps.Renewed,
		transport: transport, accounts: map[string]*account{},
		router: NewRouter(cfg.Accounts), table: Table(),
		speaker: speaker, answers: newAnswerReader(cfg.Answer, speaker), reading: newReading(int64(cfg.MaxAnswerBytes)),
	}
	if c.renewed == nil {
		c.renewed = func(string, string) {}
	}
	breakers := map[string]*breaker{}
	for i, a := range cfg.Accounts {
		c.addAccount(i, a, breakers)
	}
	return c, nil
}

func joined(problems []setting.Error) error {
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("%s: %s", p.Key, p.Problem))
	}
	return errors.Join(errs...)
}

func (c *Client) addAccount(i int, a Account, breakers map[string]*breaker) {
	base, _ := parseHost(a.Host, a.AllowPlaintext) // validated
	host := base.Scheme + "://" + base.Host        // accounts that a gateway tells apart by path share it
	if breakers[host] == nil {
		breakers[host] = newBreaker(base.Host, c.cfg.Breaker, c.log, c.metrics.Breaker.WithLabelValues(base.Host))
	}
	c.metrics.Redials.WithLabelValues(a.ID)
	c.metrics.Duration.WithLabelValues(a.ID)
	for _, k := range contactsync.Kinds() {
		for _, p := range contactsync.Purposes() {
			c.metrics.Requests.WithLabelValues(a.ID, k.String(), p.String()) // starts at zero, so that rate() sees the first
		}
	}
	for _, result := range metrics.RowResults {
		c.metrics.Rows.WithLabelValues(a.ID, result)
	}
	for _, ids := range metrics.AnswerIDs {
		c.metrics.AnswerIDs.WithLabelValues(a.ID, ids)
	}
	tokens := map[string]*tokenSource{}
	a.each(func(key, app string, credentials Credentials) {
		where := fmt.Sprintf("upstream.accounts[%d].%s", i, key)
		for file := range credentials.files() {
			c.metrics.FilesRefused.WithLabelValues(where + "." + file) // as above
		}
		log := c.log
		if app != "" {
			log = log.With("app", app)
		}
		tokens[app] = &tokenSource{account: a.ID, where: where, cfg: credentials, log: log, series: c.metrics, issued: c.metrics.TokensIssued.WithLabelValues(a.ID)}
		tokens[app].reload(time.Now())
		credentials.logWeakness(log, a.ID)
	})
	if a.AllowPlaintext && base.Scheme == "http" {
		c.log.Warn("host is called unencrypted", "account", a.ID, "host", host)
	}
	now := time.Now()
	limit := newBudget(a.Budget, c.cfg.ThrottleMax, now)
	gate := &Gate{breaker: breakers[host], budget: limit, meter: newMeter(c.metrics, a.ID, limit)}
	gate.updateGauges(now)
	c.accounts[a.ID] = &account{cfg: a, base: base, tokens: tokens, gate: gate}
}

// CheckFiles returns everything that is wrong with the files that the settings
// name, and with the proxies of the environment. It expects valid settings.
func (c Config) CheckFiles() []setting.Error {
	now := time.Now()
	problems := c.ofCredentials(func(credentials Credentials) []setting.Error {
		_, problems := readKey(credentials, now)
		return problems
	})
	_, ofTLS := c.files().Read(now)
	if _, err := newSpeaker(c.Answer); err != nil {
		problems = append(problems, setting.Error{Key: "answer.hash_key_file", Problem: err.Error()})
	}
	return slices.Concat(problems, ofTLS, c.checkProxy(os.Getenv))
}

// Weaknesses returns what works, but is less secret than it should be.
func (c Config) Weaknesses() []setting.Error {
	found := setting.Errors(c.ofCredentials(Credentials.weakness))
	for _, f := range []struct{ setting, file string }{{"key_file", c.KeyFile}, {"answer.hash_key_file", c.Answer.HashKeyFile}} {
		if keyfile.WorldReadable(f.file) {
			found.Add(f.setting, "%s", keyfile.Readable(f.file))
		}
	}
	return found
}

// ofCredentials returns what is found for all credentials, by its keys in the settings.
func (c Config) ofCredentials(find func(Credentials) []setting.Error) (all []setting.Error) {
	for i, a := range c.Accounts {
		a.each(func(where, _ string, credentials Credentials) {
			for _, one := range find(credentials) {
				one.Key = fmt.Sprintf("accounts[%d].%s.%s", i, where, one.Key)
				all = append(all, one)
			}
		})
	}
	return all
}

func (c Config) files() keyfile.TLS {
	return keyfile.TLS{CA: c.CAFile, Cert: c.CertFile, Key: c.KeyFile}
}

// Gate returns the gate of an account; ok is false for one that is not configured.
func (c *Client) Gate(account string) (gate *Gate, ok bool) {
	if a := c.accounts[account]; a != nil {
		return a.gate, true
	}
	return nil, false
}

// Route returns the account of a stream; see Router.Route.
func (c *Client) Route(stream, accountHint string) (accountID string, ok bool) {
	return c.router.Route(stream, accountHint)
}

// Credential returns the name of the app that signs for a stream; see Router.Credential.
func (c *Client) Credential(account, stream string) string {
	return c.router.Credential(account, stream)
}

// SetShare sets every account's share of its budget; see Gate.SetShare.
func (c *Client) SetShare(now time.Time, owned, all int) {
	for _, a := range c.accounts {
		a.gate.SetShare(now, owned, all)
	}
}

// Files returns what is known of the files of credentials and certificates, sorted by their settings.
func (c *Client) Files() []keyfile.Report {
	all := c.transport.refused.Reports("upstream", c.transport.current.Load().ends)
	for _, a := range c.accounts {
		for _, tokens := range a.tokens {
			all = append(all, tokens.files()...)
		}
	}
	slices.SortFunc(all, func(a, b keyfile.Report) int { return cmp.Compare(a.Setting, b.Setting) })
	return all
}

// Close closes idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }
