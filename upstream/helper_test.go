package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSecret  = "canary-secret-0123456789abcdef"
	testStream  = "st-7dc994f0"
	testAccount = "65f7d49a5dd06e2cefa45012"
)

// testSpeaker knows no sentence of the settings.
var testSpeaker = &speaker{key: []byte("key")}

// testClient is a client with the parts that tests look at.
type testClient struct {
	*Client
	log     *logbuffer.Buffer
	metrics *metrics.Upstream
	secret  string // path of the secret's file
}

// newTestClient returns a client of host; adjust may change the settings.
func newTestClient(t testing.TB, host string, adjust func(*Config, *Deps)) *testClient {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	writeFile(t, secret, testSecret+"\n")
	cfg := DefaultConfig()
	cfg.Accounts = []Account{{
		ID: testAccount, Host: host, AllowPlaintext: true,
		Credentials: Credentials{ClientID: "cs-client", ClientSecretFile: secret},
	}}
	cfg.SetDefaults()
	set := metrics.New(prometheus.NewRegistry())
	log := &logbuffer.Buffer{}
	deps := Deps{Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: &set.Upstream, Version: "test"}
	if adjust != nil {
		adjust(&cfg, &deps)
	}
	c, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &testClient{c, log, &set.Upstream, secret}
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serve answers every request with handle, on loopback.
func serve(t testing.TB, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}

func batchOf(ids ...string) contactsync.Batch {
	b := contactsync.Batch{Stream: testStream, Account: testAccount}
	for _, id := range ids {
		b.Rows = append(b.Rows, contactsync.Row{ID: id, Body: fmt.Appendf(nil, `{"id":%q,"firstName":"Zebulon","cellPhone":{"phoneNumber":"2445612345"}}`, id)})
	}
	return b
}

// goodAnswer reports that every row was applied.
func goodAnswer(b contactsync.Batch) []byte {
	var list []byte
	for i, row := range b.Rows {
		if i > 0 {
			list = append(list, ',')
		}
		list = fmt.Appendf(list, `{"id":%q,"contact":%s}`, row.ID, row.Body)
	}
	n := len(b.Rows)
	return fmt.Appendf(nil, `{"totalRequested":%d,"successful":%d,"failed":0,"successfulRecords":[%s],"failedRecords":[]}`, n, n, list)
}

// pipes is a network inside a synctest bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// newPipeClient returns a client whose only network is p, for use inside a bubble.
func newPipeClient(t testing.TB, p *pipes, timeout time.Duration) *testClient {
	t.Helper()
	return newTestClient(t, "http://api.test", func(cfg *Config, deps *Deps) {
		cfg.Timeout = timeout
		deps.Dial = p.dial
	})
}
