package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus/testutil"
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
	source := c.accounts[testAccount].tokens[""]
	claims(t, mustToken(t, source, now), []byte(testSecret), now)

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
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

// runInBubble runs the client with events that the test sends.
func runInBubble(t *testing.T, c *Client, test func(events chan<- fsnotify.Event, errs chan<- error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, errs := make(chan fsnotify.Event), make(chan error)
	var running sync.WaitGroup
	running.Go(func() { c.run(ctx, events, errs) })
	test(events, errs)
	cancel()
	running.Wait()
}

func TestRun_ReadsFilesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, "http://api.test", nil)
		source := c.accounts[testAccount].tokens[""]
		secrets := 0
		// change writes another secret and reports whether it is used after a time.
		change := func(after time.Duration) bool {
			secrets++
			secret := fmt.Sprint("canary-secret-number-", secrets)
			writeFile(t, c.secret, secret)
			time.Sleep(after)
			synctest.Wait()
			return signedWith(mustToken(t, source, time.Now()), secret)
		}
		runInBubble(t, c.Client, func(events chan<- fsnotify.Event, errs chan<- error) {
			if change(rereadEvery-time.Second) || !change(time.Second) || !change(rereadEvery) {
				t.Error("without events the files are not read every minute")
			}
			for range 2 {
				events <- fsnotify.Event{}
				if change(settleTime-time.Millisecond) || !change(time.Millisecond) {
					t.Error("files are not read a settle time after the event")
				}
			}
			errs <- errors.New("overflow")
			if !change(settleTime) || !strings.Contains(c.log.String(), "overflow") {
				t.Error("files are not read after the watch has failed")
			}
			read := false
			for range 10 { // a directory that never rests
				events <- fsnotify.Event{}
				read = change(settleTime/2) || read
			}
			if !read {
				t.Error("files are not read while events go on")
			}
		})
	})
}

func TestRun_UpdatesGauges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, "http://api.test", nil)
		gate, _ := c.Gate(testAccount)
		gate.SetShare(time.Now(), 1, 1)
		remaining := c.metrics.BudgetRemaining.WithLabelValues(testAccount)
		before := testutil.ToFloat64(remaining)
		runInBubble(t, c.Client, func(chan<- fsnotify.Event, chan<- error) {
			time.Sleep(5 * time.Minute)
			synctest.Wait()
		})
		if got := testutil.ToFloat64(remaining); before != 1 || got != 6 {
			t.Errorf("%v requests remain at first and %v after five minutes, want 1 and 6", before, got)
		}
	})
}
