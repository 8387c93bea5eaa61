//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary builds the service once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "contactsync-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "contactsync")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/contactsync/contactsync/cmd/contactsync")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the service: %w\n%s", err, out)
	}
	return path, nil
})

// replica is one service process.
type replica struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  string
	gone chan struct{}

	mu    sync.Mutex
	admin string // address of the admin pages, once known; guarded by mu
	ended bool
}

// startReplica runs the service with a settings file until it is stopped or killed.
func startReplica(t *testing.T, name, config, dir string) *replica {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{t: t, name: name, log: filepath.Join(dir, name+".log"), gone: make(chan struct{})}
	out, err := os.OpenFile(r.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.Command(path, "run", "--config", config)
	r.cmd.Env = []string{"HOME=" + dir}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.gone)
		defer out.Close()
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			fmt.Fprintf(out, "%s\n", lines.Bytes())
			var entry struct{ Msg, Admin string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "started" {
				r.mu.Lock()
				r.admin = entry.Admin
				r.mu.Unlock()
			}
		}
		_ = r.cmd.Wait() // the exit code is looked at by whoever ended it
	}()
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("last lines of %s:\n%s", name, tail(r.log, 25))
		}
	})
	return r
}

// address is where the admin pages are; it waits until that is known.
func (r *replica) address() string {
	r.t.Helper()
	var addr string
	until(r.t, r.name+" to start", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		addr = r.admin
		return addr != ""
	})
	return addr
}

// stop asks the replica to end in order and expects that it does.
func (r *replica) stop() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatalf("%s: %v", r.name, err)
	}
	select {
	case <-r.gone:
	case <-time.After(40 * time.Second):
		r.t.Fatalf("%s did not end within 40 s of SIGTERM", r.name)
	}
	r.ended = true
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Errorf("%s ended with code %d after SIGTERM", r.name, code)
	}
}

// kill ends the replica as a crash would.
func (r *replica) kill() {
	if r.ended {
		return
	}
	r.ended = true
	_ = r.cmd.Process.Kill() // it may have ended by itself
	<-r.gone
}

// usage is what an ended replica has used.
func (r *replica) usage() (cpu time.Duration, rssMiB int64) {
	s := r.cmd.ProcessState
	if u, ok := s.SysUsage().(*syscall.Rusage); ok {
		rssMiB = u.Maxrss >> 10
	}
	return s.UserTime() + s.SystemTime(), rssMiB
}

func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(len(lines)-n, 0):], []byte("\n")))
}

// until waits for something that must happen within five minutes: less on any
// machine, and a busy one is no fault of the service.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(5 * time.Minute)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited five minutes in vain for %s", what)
		}
	}
}

func contains(path, text string) bool {
	all, err := os.ReadFile(path)
	return err == nil && bytes.Contains(all, []byte(text))
}
