package upstream

import (
	"encoding/base64"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/metrics"
)

// The seconds for which nothing may start are told by what they are waited for, also while
// they go on, and no longer than the gate asked for.
func TestMeter_BlockedSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 60)
		g := gates[0]
		ask := func(cause string, want float64) {
			t.Helper()
			if got := testutil.ToFloat64(g.meter.blocked[cause]); got < want-0.01 || got > want+0.01 {
				t.Errorf("%s: %v s, want %v", cause, got, want)
			}
		}
		report := admit(t, g)
		g.Admit(time.Now(), "st", false) // nothing is left
		time.Sleep(time.Second / 2)
		g.updateGauges(time.Now())
		ask(forBudget, 0.5)
		time.Sleep(time.Hour) // nobody asks: nothing is ready
		g.updateGauges(time.Now())
		ask(forBudget, 1)

		report(contactsync.Throttled) // for a window
		g.Admit(time.Now(), "st", false)
		time.Sleep(30 * time.Second)
		g.updateGauges(time.Now())
		ask(forThrottle, 30)
		time.Sleep(time.Hour)

		for range 5 {
			time.Sleep(10 * time.Second)
			admit(t, g)(contactsync.Unavailable)
		}
		time.Sleep(2 * time.Second)
		g.Admit(time.Now(), "st", false)
		time.Sleep(3 * time.Second)
		g.updateGauges(time.Now())
		ask(forBreaker, 3)
		if used := testutil.ToFloat64(g.meter.used); used != 6 {
			t.Errorf("%v requests are charged, want 6", used)
		}
	})
}

func TestMeter_BudgetByItsParts(t *testing.T) {
	t.Parallel()
	set := &metrics.New(prometheus.NewRegistry()).Upstream
	now := time.Unix(1_700_000_000, 0)
	b := newBudget(testBudget(60, 0, time.Minute, ShareSplit), time.Minute, now)
	m := newMeter(set, "a", b)
	b.setShare(now, 1, 4)
	b.throttle(now, time.Second)
	m.show(now, b)
	for name, tt := range map[string]struct{ got, want float64 }{
		"limit":   {testutil.ToFloat64(m.limit), 60},
		"window":  {testutil.ToFloat64(m.window), 60},
		"part":    {testutil.ToFloat64(m.part), 0.25},
		"learned": {testutil.ToFloat64(m.learned), throttleStep},
		"share":   {testutil.ToFloat64(m.share), 60 * 0.25 * throttleStep},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", name, tt.got, tt.want)
		}
	}
}

// While there is more to do than the gate admits, the calls of a window are its refill, however small the
// budget: that is what tells a budget of which all is used.
func TestMeter_ARefillIsUsedUp(t *testing.T) {
	t.Parallel()
	for _, requests := range []int{1, 3, 60} {
		synctest.Test(t, func(t *testing.T) {
			gates, _ := newTestGates(1, requests)
			g, windows := gates[0], 50
			for end := time.Now().Add(time.Duration(windows) * g.budget.window); time.Now().Before(end); {
				report, again := g.Admit(time.Now(), "st", false)
				if report == nil {
					time.Sleep(time.Until(again))
					continue
				}
				report(time.Now(), result(contactsync.Answered))
			}
			g.updateGauges(time.Now())
			used, refill := testutil.ToFloat64(g.meter.used)/float64(windows), testutil.ToFloat64(g.meter.refill)
			if refill <= 0 || used < 0.97*refill || used > 1.03*refill {
				t.Errorf("of a budget of %d, %v a window are used, and the refill is %v", requests, used, refill)
			}
		})
	}
}

// A number for what has no limit would be taken for one.
func TestMeter_NoSeriesWithoutALimit(t *testing.T) {
	t.Parallel()
	set := &metrics.New(prometheus.NewRegistry()).Upstream
	newMeter(set, "a", newBudget(testBudget(0, 0, time.Minute, ShareFull), time.Minute, time.Unix(0, 0))).show(time.Unix(0, 0), &budget{})
	for name, c := range map[string]prometheus.Collector{
		"limit": set.BudgetLimit, "window": set.BudgetWindow, "part": set.BudgetPart, "learned": set.BudgetLearned,
		"share": set.BudgetShare, "remaining": set.BudgetRemaining, "used": set.BudgetUsed, "refill": set.BudgetRefill,
	} {
		if n := testutil.CollectAndCount(c); n != 0 {
			t.Errorf("%s: %d series", name, n)
		}
	}
}

func TestTokenSource_TellsWhenCredentialsWereLoadedAndEnd(t *testing.T) {
	t.Parallel()
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":99999999999}`)) + ".c2lnbmF0dXJl"
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, token)
	set := &metrics.New(prometheus.NewRegistry()).Upstream
	source := func(where, file string) *tokenSource {
		return &tokenSource{
			account: "a", where: where, cfg: Credentials{StaticTokenFile: file}, series: set, log: slog.New(slog.DiscardHandler),
			issued: set.TokensIssued.WithLabelValues("a"),
		}
	}
	s := source("upstream.accounts[0].credentials", file)
	first := time.Unix(1_700_000_000, 0)
	s.reload(first)
	s.reload(first.Add(time.Hour)) // the same content
	if at := testutil.ToFloat64(set.CredentialsLoaded.WithLabelValues("a")); at != 1_700_000_000 {
		t.Errorf("loaded at %v", at)
	}
	opaque := filepath.Join(t.TempDir(), "token")
	writeFile(t, opaque, "opaque-token-0123456789")
	source("upstream.accounts[0].apps[0].credentials", opaque).reload(first) // an app whose token does not say when it ends
	if at := testutil.ToFloat64(set.CredentialsExpiry.WithLabelValues("a", "upstream.accounts[0].credentials.static_token_file")); at != 99_999_999_999 || testutil.CollectAndCount(set.CredentialsExpiry) != 1 {
		t.Errorf("the token ends at %v", at)
	}
	writeFile(t, file, "a token that says nothing")
	s.reload(first.Add(2 * time.Hour)) // not usable: it has blanks
	if at := testutil.ToFloat64(set.CredentialsLoaded.WithLabelValues("a")); at != 1_700_000_000 {
		t.Errorf("credentials that cannot be used are loaded at %v", at)
	}
	writeFile(t, file, "opaque-token-0123456789")
	s.reload(first.Add(3 * time.Hour))
	if at := testutil.ToFloat64(set.CredentialsLoaded.WithLabelValues("a")); at != 1_700_010_800 || testutil.CollectAndCount(set.CredentialsExpiry) != 0 {
		t.Errorf("loaded at %v, with %d ends", at, testutil.CollectAndCount(set.CredentialsExpiry))
	}
}
