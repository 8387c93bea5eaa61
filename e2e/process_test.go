//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/harness"
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

// process is one running service.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  string
	gone chan struct{}

	mu    sync.Mutex
	admin string // address of the admin pages, once known; guarded by mu
	ended bool
}

// startProcess runs the service until it is stopped or killed. env overrides settings.
func startProcess(t *testing.T, name, settings, dir string, env ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, log: filepath.Join(dir, name+".log"), gone: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(path, "run", "--config", settings)
	p.cmd.Env = append([]string{"HOME=" + dir}, env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.gone)
		defer out.Close()
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			fmt.Fprintf(out, "%s\n", lines.Bytes())
			var entry struct{ Msg, Admin string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "started" {
				p.mu.Lock()
				p.admin = entry.Admin
				p.mu.Unlock()
			}
		}
		_ = p.cmd.Wait() // whoever ends the process checks the exit code
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("last lines of %s:\n%s", name, tail(p.log, 25))
		}
	})
	return p
}

// address is where the admin pages are. It waits until that is logged.
func (p *process) address() string {
	p.t.Helper()
	var addr string
	until(p.t, p.name+" to start", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		addr = p.admin
		return addr != ""
	})
	return addr
}

// stop sends SIGTERM and expects an exit code of 0.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	select {
	case <-p.gone:
	case <-time.After(40 * time.Second):
		p.t.Fatalf("%s did not end within 40 s of SIGTERM", p.name)
	}
	p.ended = true
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s ended with code %d after SIGTERM", p.name, code)
	}
}

// signal sends a signal and does not wait for what it does.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// kill ends the process as a crash would.
func (p *process) kill() {
	if p.ended {
		return
	}
	p.ended = true
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.gone
}

// usage is what an ended process has used.
func (p *process) usage() (cpu time.Duration, rssMiB int64) {
	s := p.cmd.ProcessState
	if u, ok := s.SysUsage().(*syscall.Rusage); ok {
		rssMiB = u.Maxrss >> 10
	}
	return s.UserTime() + s.SystemTime(), rssMiB
}

// series is the sum of one series over its labels, or over those that have label, such
// as topic="contacts", among them.
func (p *process) series(name string, label ...string) (sum float64) {
	p.t.Helper()
	for line := range strings.Lines(p.page("/metrics")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, labels, _ := strings.Cut(key, "{")
		if key != "contactsync_"+name || !containsAll(labels, label) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum += v
	}
	return sum
}

func containsAll(text string, parts []string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) })
}

// page is one of the admin pages.
func (p *process) page(path string) string {
	p.t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + p.address() + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// generations are the numbers of the group's generations that a process took part in.
func (p *process) generations() (all []int) {
	p.t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var entry struct {
			Msg        string
			Generation int
		}
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "partitions assigned" {
			all = append(all, entry.Generation)
		}
	}
	return all
}

func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(len(lines)-n, 0):], []byte("\n")))
}

// until waits for something that must happen within five minutes. It takes seconds,
// but a busy machine is no fault of the service.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := harness.Wait(ctx, ok); err != nil {
		t.Fatalf("waited five minutes for %s", what)
	}
}

func contains(path, text string) bool {
	all, err := os.ReadFile(path)
	return err == nil && bytes.Contains(all, []byte(text))
}
