package upstream

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/metrics"
)

func TestClient_Wiring(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, "http://api.test", nil)
	if id, ok := c.Route("st-1", ""); id != testAccount || !ok {
		t.Errorf("route leads to %q", id)
	}
	if _, ok := c.Gate("nobody"); ok {
		t.Error("a gate of nobody")
	}
	g, _ := c.Gate(testAccount)
	now := time.Now()
	if report, _ := g.Admit(now, "st", false); report != nil {
		t.Error("admitted before any partition is owned")
	}
	c.SetShare(now, 2, 4)
	if s := g.State(now); s.Share != 30 {
		t.Errorf("state is %+v", s)
	}
}

func TestNew_ReportsEveryProblem(t *testing.T) {
	t.Parallel()
	deps := Deps{Log: slog.New(slog.DiscardHandler), Metrics: &metrics.New(prometheus.NewRegistry()).Upstream}
	broken := goodConfig()
	broken.Timeout, broken.Proxy = 0, "x"
	missing := goodConfig()
	missing.CAFile = filepath.Join(t.TempDir(), "ca")
	for _, tt := range []struct {
		cfg  Config
		want []string
	}{
		{broken, []string{"timeout: ", "proxy: "}},
		{missing, []string{"accounts[0].credentials.client_secret_file: ", "accounts[1].credentials.static_token_file: ", "ca_file: "}},
	} {
		_, err := New(tt.cfg, deps)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %q", err, want)
			}
		}
	}
}

// Two accounts on one host, however it is spelled: each has its own budget, and
// both have one circuit breaker.
func TestClient_AccountsShareAHostAndNothingElse(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, "http://api.test", func(cfg *Config, _ *Deps) {
		second := cfg.Accounts[0]
		second.ID, second.Host, second.Streams = "second", "http://API.test/behind/a-gateway/", []string{"second-*"}
		second.Budget = testBudget(120, 0, time.Minute, ShareSplit)
		cfg.Accounts = append(cfg.Accounts, second)
		cfg.Breaker.Consecutive = 1
	})
	if n := strings.Count(c.log.String(), "host is called unencrypted"); n != 2 {
		t.Errorf("%d warnings of two accounts without encryption: %s", n, c.log)
	}
	now := time.Now()
	c.SetShare(now, 1, 2)
	first, _ := c.Gate(testAccount)
	second, _ := c.Gate("second")
	if a, b := first.State(now).Share, second.State(now).Share; a != 30 || b != 60 {
		t.Errorf("%v and %v requests in a window, want 30 and 60", a, b)
	}
	report, _ := first.Admit(now, "st", false)
	report(now, contactsync.Result{Kind: contactsync.Unavailable})
	if s := second.State(now); s.Name != StateBreakerOpen {
		t.Errorf("the other account's state is %+v", s)
	}
}
