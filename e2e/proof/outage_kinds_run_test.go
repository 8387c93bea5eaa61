//go:build proof

package proof

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/authority"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

const (
	outageStreams  = 10
	outageContacts = 1000             // in all streams
	outageRate     = 8                // events a second, three quarters of what the account's calls carry
	outageRows     = 12               // of a request, at most
	outageBefore   = 7 * time.Minute  // and what is compared with is the last five of them
	outageAfter    = 15 * time.Minute // so long events arrive after its end
	outageBack     = 10 * time.Minute // until all is as before
)

var outageStream = feed.StreamName(0) // where it is about one

// outageResult is what is known after a run.
type outageResult struct {
	kind              outageKind
	before, meanwhile pace
	back, drained     time.Duration // from its end
	letters, left     int
	report            check.Report
}

// playOutage plays one kind.
func playOutage(t *testing.T, api model, kind outageKind) outageResult {
	var rules []stub.Rule
	if kind.rule.Answer != nil || kind.rule.Rows != nil {
		kind.rule.Name, kind.rule.Off = kind.name, true
		rules = append(rules, kind.rule)
	}
	host := brokenAPI(t, api, rules)
	var good, bad *tls.Certificate
	r := newBubble(t, host, func(cfg *config.Config) {
		cfg.Batcher.MaxRows = outageRows
		if kind.secure {
			good, bad = certificates(t, cfg)
		}
	})
	r.network.cert = good
	turn := func(on bool) {
		switch {
		case len(rules) > 0:
			host.Turn(kind.name, on)
		case kind.secure && on:
			r.network.change(func() { r.network.cert = bad })
		case kind.secure:
			r.network.change(func() { r.network.cert = good })
		default:
			r.network.change(func() { r.network.refuses = on })
		}
	}
	start := time.Now()
	from := start.Add(outageBefore)
	to := from.Add(kind.lasts)
	go func() {
		time.Sleep(time.Until(from))
		for on := true; time.Now().Before(to); on = !on {
			turn(on)
			time.Sleep(cmp.Or(kind.flap, kind.lasts))
		}
		turn(false)
	}()
	outageEvents(r, to.Add(outageAfter))
	time.Sleep(outageBack)

	in, report := r.judge(host, 3*outageRows) // of requests that were cut
	got := outageResult{kind: kind, report: report, letters: len(r.deadLetters()), left: r.left(), back: outageAfter}
	got.before = paceOf(in.Calls, kind.stream, from.Add(-5*time.Minute).Sub(start), from.Sub(start))
	got.meanwhile = paceOf(in.Calls, kind.stream, from.Sub(start), to.Sub(start))
	for after := time.Duration(0); after < outageAfter; after += 10 * time.Second {
		at := to.Add(after).Sub(start)
		if now := paceOf(in.Calls, kind.stream, at, at+time.Minute); now.calls > got.before.calls*0.9 && now.rows > got.before.rows*0.9 {
			got.back = after + time.Minute
			break
		}
	}
	for _, e := range r.completed() {
		if e.opened.Before(to) {
			got.drained = max(got.drained, e.opened.Add(e.age).Sub(to))
		}
	}
	return got
}

// outageEvents has events arrive until a time: each second some, of the streams in turn.
func outageEvents(r *bubble, until time.Time) {
	arrivals := rand.New(rand.NewPCG(1, 2)) // alike in all runs
	r.populate(outageStreams, outageContacts)
	for n := 0; time.Now().Before(until); n++ {
		r.put(n%outageStreams+outageStreams*arrivals.IntN(outageContacts/outageStreams), int64(n+1))
		if n%outageRate == 0 {
			time.Sleep(time.Second)
		}
	}
}

// pace is how fast the API is called.
type pace struct {
	calls float64 // a minute, of those that had rows applied
	rows  float64 // a call
}

// paceOf is the pace in a span of time, of one stream or of all.
func paceOf(calls []stub.Call, stream string, from, to time.Duration) pace {
	n, rows := 0, 0
	for _, c := range calls {
		if at := time.Duration(c.Received); at < from || at >= to || c.Order == 0 || stream != "" && c.Stream != stream {
			continue
		}
		n++
		rows += len(c.Rows)
	}
	return pace{calls: float64(n) / (to - from).Minutes(), rows: float64(rows) / float64(max(n, 1))}
}

// certificates are a server's that the service trusts, and another that it does not.
func certificates(t *testing.T, cfg *config.Config) (good, bad *tls.Certificate) {
	t.Helper()
	pem, good := newCertificate(t)
	_, bad = newCertificate(t)
	trustOnly(t, cfg, pem)
	return good, bad
}

// newCertificate is a certificate of the API's name, and that of the authority that signed it.
func newCertificate(t *testing.T) (pem []byte, cert *tls.Certificate) {
	t.Helper()
	a, err := authority.New()
	must(t, err)
	pair, err := a.Issue(x509.Certificate{DNSNames: []string{"api.test"}})
	must(t, err)
	return a.PEM, &pair
}

// trustOnly has the service speak TLS, and trust one authority.
func trustOnly(t *testing.T, cfg *config.Config, pem []byte) {
	t.Helper()
	cfg.Upstream.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(cfg.Upstream.CAFile, pem, 0o600))
	account := &cfg.Upstream.Accounts[0]
	account.Host, account.AllowPlaintext = "https://api.test", false
}
