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
)

// signalLog sends on a channel when a line with the words is logged.
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
	log := &signalLog{words: "credentials changed", seen: make(chan struct{}, 1)}
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
