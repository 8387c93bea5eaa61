package upstream

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	if report, _ := g.Admit(now); report != nil {
		t.Error("admitted before any partition is owned")
	}
	c.SetShare(now, 2, 4)
	if s := g.State(now); s.Share != 30 {
		t.Errorf("state is %+v", s)
	}
}

func TestNew_ReportsEveryFault(t *testing.T) {
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
		{missing, []string{"accounts[0].credentials: ", "accounts[1].credentials: ", "ca_file: "}},
	} {
		_, err := New(tt.cfg, deps)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %q", err, want)
			}
		}
	}
}
