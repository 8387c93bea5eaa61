package upstream

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestProbe_SendsNoCredentials(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method != http.MethodHead || r.URL.Path != "/" || r.Header.Get("auth") != "" || r.Header.Get("accountId") != "" {
			t.Errorf("probed with %s %s, headers %v", r.Method, r.URL.Path, r.Header)
		}
		w.WriteHeader(http.StatusTeapot)
	})
	if errs := newTestClient(t, host, nil).Probe(t.Context()); errs != nil || asked.Load() != 1 {
		t.Errorf("%d requests, %v", asked.Load(), errs)
	}
}

func TestProbe_IsBoundedByTheTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		defer func() { _ = p.Close() }()
		c := newPipeClient(t, p, 30*time.Second)
		start := time.Now()
		errs := c.Probe(t.Context())
		if took := time.Since(start); took != 30*time.Second || len(errs) != 1 || !strings.Contains(errs[0].Error(), errAnswerTimeout.Error()) {
			t.Errorf("took %v, %v", took, errs)
		}
	})
}
