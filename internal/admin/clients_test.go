package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/authority"
)

// crampedEnv has the test binary be a server in a process of its own instead: it holds the
// settings.
const crampedEnv = "ADMIN_TEST_CRAMPED"

// descriptors is how many the server's process may have.
const descriptors = 256

// usage is what the server's process has in use.
type usage struct{ Goroutines, Descriptors int }

// serveCramped serves with few descriptors until its input ends, and prints its addresses.
func serveCramped() {
	var cfg Config
	err := json.Unmarshal([]byte(os.Getenv(crampedEnv)), &cfg)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: descriptors, Max: descriptors})
	}
	var s *Server
	if err == nil {
		s, err = Listen(context.Background(), cfg, Deps{
			Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			Stuck: func() string { return "" }, NotReady: func() string { return "" },
			Status: func() any {
				open, _ := os.ReadDir("/proc/self/fd")
				return usage{runtime.NumGoroutine(), len(open)}
			},
			SetHoldAside: func(string, string, string) error { return nil },
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.Addr(), s.ProbeAddr())
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := s.Serve(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// cramped starts such a server and returns its addresses.
func cramped(t *testing.T, cfg Config) (pages, probes string) {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), crampedEnv+"="+string(text)), t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pages, probes, _ = strings.Cut(strings.TrimSpace(line), " ")
	return pages, probes
}

// usersAndTLS returns a web configuration, and whom to trust for it.
func usersAndTLS(t *testing.T) (file string, roots *x509.CertPool) {
	t.Helper()
	ca, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	if file, _, err = ca.WebConfig(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.PEM)
	return file, roots
}

// occupy opens n connections that say text and then nothing, and keeps them.
func occupy(t *testing.T, addr, text string, n int) {
	t.Helper()
	for range n {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, text) // an error means that it was closed for another one
	}
}

// Whatever hundreds of connections do or leave undone, probes, scrapes and operators get
// their answers, and the process keeps its descriptors.
func TestServer_HostileClientsStarveNobody(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("counts descriptors in /proc")
	}
	web, roots := usersAndTLS(t)
	for _, test := range []struct{ name, text, web string }{
		{"nothing is sent", "", ""},
		{"half a header", "GET /metrics HTTP/1.1\r\nHost: x\r\nX-", ""},
		{"idle after an answer", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{"a body that never ends", "POST /hold/set-aside HTTP/1.1\r\nHost: localhost:1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\nstream=", ""},
		{"no handshake", "", web},
		{"half a handshake", "\x16\x03\x01\x02\x00\x01", web},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pages, probes := cramped(t, Config{Listen: "127.0.0.1:0", ProbeListen: "127.0.0.1:0", WebConfigFile: test.web})
			occupy(t, pages, test.text, 400)
			occupy(t, probes, test.text, 400)
			client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
			get := func(url string) []byte {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.SetBasicAuth(authority.WebUser, authority.WebPassword)
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != http.StatusOK {
					t.Fatalf("%s: %d, %v", url, res.StatusCode, err)
				}
				return body
			}
			scheme := "http"
			if test.web != "" {
				scheme = "https"
			}
			for range 20 {
				get("http://" + probes + "/livez")
				get("http://" + probes + "/readyz")
				get(scheme + "://" + pages + "/metrics")
			}
			var used usage
			if err := json.Unmarshal(get(scheme+"://"+pages+"/status"), &used); err != nil {
				t.Fatal(err)
			}
			// Besides connections: the three standard streams, two listeners, the poller, and what is read just now.
			if used.Descriptors > pageConnections+probeConnections+20 || used.Goroutines > 2*(pageConnections+probeConnections)+20 {
				t.Errorf("in use are %+v", used)
			}
		})
	}
}

// Idle connections are closed before those that are being answered, and of these the one
// that takes longest.
func TestConnections_ClosesTheOneThatIsLeastMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(2)
		entered, leave := make(chan struct{}), make(chan struct{})
		server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			entered <- struct{}{}
			<-leave
		})}
		c.bound(server)
		accept := func() net.Conn {
			time.Sleep(time.Second)
			ours, theirs := net.Pipe()
			t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
			server.ConnState(theirs, http.StateNew)
			return theirs
		}
		answer := func(conn net.Conn) {
			time.Sleep(time.Second)
			req, err := http.NewRequestWithContext(server.ConnContext(t.Context(), conn), http.MethodGet, "/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			go server.Handler.ServeHTTP(nil, req)
			<-entered
		}
		open := func(what string, want map[net.Conn]bool) {
			t.Helper()
			for conn, open := range want {
				_ = conn.SetReadDeadline(time.Now().Add(-time.Second))
				if _, err := conn.Read(make([]byte, 1)); errors.Is(err, io.ErrClosedPipe) == open {
					t.Errorf("%s: %v, want open: %t", what, err, open)
				}
			}
		}
		first := accept()
		second := accept()
		answer(first)
		third := accept()
		open("one of two is idle", map[net.Conn]bool{first: true, second: false, third: true})
		answer(third)
		fourth := accept()
		open("both are answered", map[net.Conn]bool{first: false, third: true, fourth: true})
		time.Sleep(time.Second)
		close(leave)
		synctest.Wait()
		fifth := accept()
		open("an answer has ended last", map[net.Conn]bool{third: true, fourth: false, fifth: true})
		server.ConnState(third, http.StateClosed)
		sixth := accept()
		open("one has gone", map[net.Conn]bool{fifth: true, sixth: true})
	})
}

// The users cover every page; the probes' own port has nothing else and asks for nobody.
func TestServer_UsersAndTLS(t *testing.T) {
	t.Parallel()
	web, roots := usersAndTLS(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	fine := func() string { return "" }
	s, err := Listen(t.Context(), Config{Listen: "127.0.0.1:0", ProbeListen: "127.0.0.1:0", WebConfigFile: web, Pprof: true}, Deps{
		Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Stuck: fine, NotReady: fine,
		Status:       func() any { return 1 },
		Answers:      func() any { return 1 },
		Answer:       func(string) (any, bool) { return 1, true },
		SetAside:     func(contactsync.TopicPartition, int64, int64) error { return nil },
		ResumeFeed:   func(contactsync.TopicPartition, int64, bool) error { return nil },
		ReleaseHold:  func(string, string) error { return nil },
		SetHoldAside: func(string, string, string) error { return nil },
		Explain:      func(context.Context, string, string) (any, error) { return 1, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	ask := func(method, url, password string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			req.SetBasicAuth(authority.WebUser, password)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	for page, want := range map[string]int{
		"GET /metrics": 200, "GET /status": 200, "GET /livez": 200, "GET /readyz": 200, "GET /debug/pprof/": 200, "GET /": 200, "GET " + StatusPath: 200, "GET /nothing": 404,
		"GET " + ExplainPath + "?stream=s&contact=c": 200, "GET " + AnswersPath: 200, "GET " + AnswersPath + "/a3f91c02": 200,
		"POST " + SetAsidePath + "?topic=t&partition=0&first=1&last=2":    202,
		"POST " + ResumeFeedPath + "?topic=t&partition=0&records=0":       202,
		"POST " + ReleaseHoldPath + "?stream=s":                           202,
		"POST " + SetHoldAsidePath + "?stream=s&reason=because+of+reason": 202,
	} {
		method, path, _ := strings.Cut(page, " ")
		for password, want := range map[string]int{"": 401, "wrong": 401, authority.WebPassword: want} {
			if got := ask(method, "https://"+s.Addr()+path, password); got != want {
				t.Errorf("%s with password %q: %d, want %d", page, password, got, want)
			}
		}
		on := http.StatusNotFound
		if path == "/livez" || path == "/readyz" {
			on = http.StatusOK
		}
		if got := ask(method, "http://"+s.ProbeAddr()+path, ""); got != on {
			t.Errorf("%s on the port of the probes: %d, want %d", page, got, on)
		}
	}
	if got := ask(http.MethodGet, "http://"+s.Addr()+"/metrics", authority.WebPassword); got != http.StatusBadRequest {
		t.Errorf("without TLS: %d", got)
	}
	if got := ask(http.MethodGet, "https://"+s.Addr()+"/api/events", ""); got != http.StatusUnauthorized {
		t.Errorf("events without a user: %d", got)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.Addr()+"/api/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(authority.WebUser, authority.WebPassword)
	events, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	if line, err := bufio.NewReader(events.Body).ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Errorf("events: %q, %v", line, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// The library reads the key for each connection, and checking one that is large enough takes hours.
func TestListen_RefusesAWebConfigWithAHugeKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"cert.pem": "any", "key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: make([]byte, 200<<10)})),
		"web.yaml": "tls_server_config: {cert_file: cert.pem, key_file: key.pem}",
	} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Listen(t.Context(), Config{Listen: "127.0.0.1:0", WebConfigFile: dir + "/web.yaml"}, Deps{}); err == nil || !strings.Contains(err.Error(), "larger than any in use") {
		t.Errorf("error %v", err)
	}
}

func TestListen_RefusesAWebConfigThatCannotWork(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "tls_server_config: {cert_file: no-such.pem, key_file: no-such.pem}", "basic_auth_users: {operator: in clear}", "users: {a: b}"} {
		file := t.TempDir() + "/web.yaml"
		if text != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Listen(t.Context(), Config{Listen: "127.0.0.1:0", WebConfigFile: file}, Deps{}); err == nil || !strings.Contains(err.Error(), "admin.web_config_file") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheckFiles_QuoteNothingOfTheWebConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"basic_auth_users:\n  admin: $2y$10$hushhush\n tls_server_config: x\n", "line 3"},
		{"basic_auth_users:\n  admin: \"hushhush\n", "line 2"},
		{"tls_server_config: hushhush\nbasic_auth_users:\n  admin: hushhush\n", "line 1"},
		{"basic_auth_users: hushhush\n", "line 1"},
		{"basic_auth_users:\n  admin: [hushhush]\n", "line 2"},
		{"hushhush: admin\n", "line 1"},
		{"hushhush\n", "line 1"},
		{"basic_auth_users: {admin: *hushhush}\n", "web.yaml"},
		{"basic_auth_users: {admin: hushhush}\n", "bcrypt"},
	} {
		file := t.TempDir() + "/web.yaml"
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		problems := Config{WebConfigFile: file}.CheckFiles()
		if len(problems) != 1 || !strings.Contains(problems[0].Problem, test.want) || strings.Contains(problems[0].Problem, "hush") {
			t.Errorf("%q: %+v", test.text, problems)
		}
	}
}

func TestServe_LogsNothingOfTheWebConfig(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/web.yaml"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("basic_auth_users: {}\n")
	var log strings.Builder
	s, err := Listen(t.Context(), Config{Listen: "127.0.0.1:0", WebConfigFile: file}, Deps{
		Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	for _, want := range []int{http.StatusOK, http.StatusInternalServerError} {
		resp, err := http.Get("http://" + s.Addr() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s, want %d", resp.Status, want)
		}
		write("basic_auth_users: hushhush\n")
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if text := log.String(); !strings.Contains(text, "line 1 ") || strings.Contains(text, "hush") {
		t.Error(text)
	}
}
