package upstream

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// signalLog tells on a channel when a line with some words is logged.
type signalLog struct {
	words string
	seen  chan struct{}
}

func (l *signalLog) Write(p []byte) (int, error) {
	if strings.Contains(string(p), l.words) {
		select {
		case l.seen <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// TestRun_SecretIsSwapped changes a secret as Kubernetes does: the file is a
// link through ..data, and ..data is replaced by a link to another directory.
func TestRun_SecretIsSwapped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, secret := range map[string]string{"..1": testSecret, "..2": "another-canary-secret"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name, "secret"), secret)
	}
	link := func(to, from string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", "..data")
	link("..data/secret", "secret")
	log := &signalLog{words: "credentials have changed", seen: make(chan struct{}, 1)}
	c := newTestClient(t, "http://api.test", func(cfg *Config, deps *Deps) {
		cfg.Accounts[0].Credentials.ClientSecretFile = filepath.Join(dir, "secret")
		deps.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	now := time.Now()
	source := c.accounts[testAccount].tokens
	claims(t, mustToken(t, source, now), []byte(testSecret), now)

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	// The watch may begin after the swap; then the next swap is seen.
	for i := 0; ; i++ {
		link([]string{"..2", "..1"}[i%2], "..new")
		if err := os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-log.seen:
			// On a busy machine it may be the swap before that was seen; then this one is next.
			key := []string{"another-canary-secret", testSecret}[i%2]
			for !signedWith(mustToken(t, source, now), key) {
				select {
				case <-log.seen:
				case <-t.Context().Done():
					t.Fatal("the last swap is not seen")
				}
			}
		case <-time.After(2 * settleTime):
			continue
		}
		break
	}
	cancel()
	running.Wait()
}

// TestBody_IsReadWhileItIsClosed is what a transport does that gives up on a
// request: it closes the body while another of its goroutines still reads.
func TestBody_IsReadWhileItIsClosed(t *testing.T) {
	t.Parallel()
	var pool bodies
	rows := batchOf("a", "b").Rows
	want := "[" + string(rows[0].Body) + "," + string(rows[1].Body) + "]"
	for range 1000 {
		b := pool.encode(rows)
		if string(b.data) != want {
			t.Fatalf("got %s", b.data)
		}
		var readers sync.WaitGroup
		readers.Go(func() {
			got := make([]byte, 16)
			for n, err := 0, error(nil); err == nil; {
				n, err = b.Read(got)
				if !strings.Contains(want, string(got[:n])) {
					t.Errorf("read %q", got[:n])
				}
			}
		})
		readers.Go(func() { _ = b.Close() })
		_ = b.Close()
		next := pool.encode([]contactsync.Row{{Body: []byte(strings.Repeat("!", 64))}})
		readers.Wait()
		_ = next.Close()
	}
}

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
