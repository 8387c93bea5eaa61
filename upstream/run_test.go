package upstream

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync/internal/keyfile"
)

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
	var renewed []string
	c := newTestClient(t, "http://api.test", func(cfg *Config, deps *Deps) {
		cfg.Accounts[0].Credentials.ClientSecretFile = filepath.Join(dir, "secret")
		deps.Renewed = func(account, app string) { renewed = append(renewed, account+"/"+app) }
	})
	now := time.Now()
	c.readFilesNow()
	source := c.accounts[testAccount].tokens[""]
	if !signedWith(mustToken(t, source, now), testSecret) {
		t.Fatal("the first secret is not used")
	}
	link("..2", "..new")
	if err := os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	c.readFilesNow()
	if !signedWith(mustToken(t, source, now), "another-canary-secret") {
		t.Error("the swap is not seen")
	}
	writeFile(t, filepath.Join(dir, "..2", "secret"), "short") // it cannot be used, so the one before stays
	c.readFilesNow()
	if want := []string{testAccount + "/"}; !slices.Equal(renewed, want) {
		t.Errorf("renewed are %q, want %q", renewed, want)
	}
}

// runInBubble runs the client while the test does something.
func runInBubble(t *testing.T, c *Client, test func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	test()
	cancel()
	running.Wait()
}

func TestRun_ReadsFilesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, "http://api.test", nil)
		source := c.accounts[testAccount].tokens[""]
		// change writes another secret at a time and reports whether it is used after a time.
		change := func(secret string, at time.Time, after time.Duration) bool {
			writeFile(t, c.secret, secret)
			if err := os.Chtimes(c.secret, at, at); err != nil {
				t.Fatal(err)
			}
			time.Sleep(after)
			synctest.Wait()
			return signedWith(mustToken(t, source, time.Now()), secret)
		}
		runInBubble(t, c.Client, func() {
			if change("canary-secret-number-1", time.Now(), keyfile.Interval-time.Millisecond) || !change("canary-secret-number-2", time.Now().Add(-time.Minute), time.Second) {
				t.Error("files are not read every few seconds")
			}
			next := time.Now().Add(keyfile.Interval - time.Second + time.Millisecond)
			if change("canary-secret-number-3", next.Add(-500*time.Millisecond), keyfile.Interval) || !change("canary-secret-number-3", next.Add(-500*time.Millisecond), keyfile.Interval) {
				t.Error("a file that was being written is read, or is not read later")
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
		runInBubble(t, c.Client, func() {
			time.Sleep(5 * time.Minute)
			synctest.Wait()
		})
		if got := testutil.ToFloat64(remaining); before != 1 || got != 6 {
			t.Errorf("%v requests remain at first and %v after five minutes, want 1 and 6", before, got)
		}
	})
}
