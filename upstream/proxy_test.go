package upstream

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/contactsync/contactsync"
)

func TestCheckProxy(t *testing.T) {
	t.Parallel()
	const canary = "c4n4ry"
	for _, tt := range []struct{ name, value, want string }{
		{"HTTPS_PROXY", "", ""},
		{"HTTPS_PROXY", "proxy:3128", ""},
		{"HTTPS_PROXY", "http://user:" + canary + "@proxy:3128/", ""},
		{"https_proxy", "socks5://[::1]:1080", ""},
		{"HTTPS_PROXY", "http://user:" + canary + "%zz@proxy", "HTTPS_PROXY is not a URL"},
		{"https_proxy", "http://proxy:" + canary, "https_proxy is not a URL"},
		{"HTTP_PROXY", "http://proxy:99999", "no port"},
		{"HTTPS_PROXY", "ftp://" + canary, "scheme"},
		{"HTTPS_PROXY", "http://", "names no host"},
		{"HTTPS_PROXY", "http://a,b:1", "names no host"},
		{"HTTPS_PROXY", "http://proxy/" + canary, "more than"},
		{"NO_PROXY", "localhost, .svc,*.corp,10.0.0.0/8,[::1]:80,api:443,*", ""},
		{"NO_PROXY", "localhost,https://" + canary, "NO_PROXY: its entry 2 is a URL"},
		{"no_proxy", "10.0.0.0/40", "no_proxy: its entry 1 is not address/bits"},
		{"NO_PROXY", "a b", "blank"},
		{"NO_PROXY", "api-*.corp", "wildcard"},
	} {
		getenv := func(name string) string {
			if name == tt.name {
				return tt.value
			}
			return ""
		}
		cfg := Config{Proxy: ProxyEnvironment}
		found := cfg.checkProxy(getenv)
		if tt.want == "" {
			if len(found) > 0 {
				t.Errorf("%s=%s: %v", tt.name, tt.value, found)
			}
		} else if len(found) != 1 || found[0].Key != "proxy" || !strings.Contains(found[0].Problem, tt.want) || strings.Contains(found[0].Problem, canary) {
			t.Errorf("%s=%s: %v, want %q", tt.name, tt.value, found, tt.want)
		}
		if cfg.Proxy = ProxyNone; cfg.checkProxy(getenv) != nil {
			t.Errorf("%s=%s counts although no proxy is used", tt.name, tt.value)
		}
	}
}

// What New and `check` look at includes the environment of the process.
func TestCheckFiles_LooksAtProxies(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://%zz")
	if found := (Config{Proxy: ProxyEnvironment}).CheckFiles(); len(found) != 1 || found[0].Key != "proxy" {
		t.Errorf("got %v", found)
	}
}

// A proxy that refuses says so in words of ours, with what to set: of hosts with TLS, where it
// refuses to connect, and of those without, where its answer stands in for the host's.
func TestProxy_ThatRefusesSaysWhatToSet(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		host   string
		status int
		want   string
	}{
		{"https://api.test", http.StatusProxyAuthRequired, "asks for a login (407): put user and password into its URL in HTTPS_PROXY, like http://user:password@host:port"},
		{"https://api.test", http.StatusForbidden, "does not connect to the host (403): have it let requests to the host"},
		{"http://api.test", http.StatusProxyAuthRequired, "asks for a login"},
	} {
		proxy, err := url.Parse(serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Proxy-Authenticate", "Basic realm=Zebulon")
			w.WriteHeader(test.status)
			_, _ = fmt.Fprint(w, "Zebulon")
		}))
		if err != nil {
			t.Fatal(err)
		}
		c := newTestClient(t, test.host, func(cfg *Config, _ *Deps) { cfg.Proxy, cfg.Accounts[0].Budget.Requests = ProxyEnvironment, new(0) })
		for _, via := range []*http.Transport{c.transport.current.Load().kept, c.transport.current.Load().alone} {
			via.Proxy = http.ProxyURL(proxy) // the environment counts once in a process
		}
		got := c.Send(t.Context(), batchOf("a"))
		if !strings.Contains(got.Detail, test.want) || strings.Contains(got.Detail, "Zebulon") || got.Kind == contactsync.Answered {
			t.Errorf("%s, %d: %v: %s", test.host, test.status, got.Kind, got.Detail)
		}
		if strings.HasPrefix(test.host, "https") && !strings.HasPrefix(got.Detail, "connect: proxy: ") {
			t.Errorf("%s, %d: %s", test.host, test.status, got.Detail)
		}
		p := &probe{c: c.Client, acc: c.accounts[testAccount], host: "accounts[0].host", credentials: "accounts[0].credentials"}
		p.run(t.Context(), testStream)
		if text := fmt.Sprint(p.faults); len(p.faults) != 1 || p.faults[0].Key != "proxy" || !strings.Contains(text, test.want) || strings.Contains(text, "Zebulon") {
			t.Errorf("%s, %d: check says %v", test.host, test.status, p.faults)
		}
	}
}
