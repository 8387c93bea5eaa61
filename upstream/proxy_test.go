package upstream

import (
	"strings"
	"testing"
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
