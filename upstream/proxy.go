package upstream

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/contactsync/contactsync/internal/setting"
)

// checkProxy returns what is wrong with the variables that name proxies. net/http takes what
// it cannot read for an error of each request, or for no exception. A value is not repeated:
// it may hold a password.
func (c Config) checkProxy(getenv func(string) string) []setting.Error {
	if c.Proxy != ProxyEnvironment {
		return nil
	}
	var problems setting.Errors
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY"} {
		name, value := variable(getenv, name)
		if problem := proxyProblem(value); problem != "" {
			problems.Add("proxy", "%s %s: write http://host:port, https:// or socks5://", name, problem)
		}
	}
	name, value := variable(getenv, "NO_PROXY")
	for i, entry := range strings.Split(value, ",") {
		if problem := exceptionProblem(strings.TrimSpace(entry)); problem != "" {
			problems.Add("proxy", "%s: its entry %d %s: write host, .domain, address, address/bits or host:port, with commas between", name, i+1, problem)
		}
	}
	return problems
}

// variable returns the name under which a variable is set, as net/http looks for it, and
// its value.
func variable(getenv func(string) string, name string) (found, value string) {
	for _, found := range []string{name, strings.ToLower(name)} {
		if value := getenv(found); value != "" {
			return found, value
		}
	}
	return name, ""
}

// proxyRefusal is the status with which a proxy refuses to connect to a host.
type proxyRefusal int

// Error says what to do about it. What the proxy wrote is not used.
func (r proxyRefusal) Error() string {
	if r == http.StatusProxyAuthRequired {
		return "asks for a login (407): " + proxyLogin("HTTPS_PROXY")
	}
	return fmt.Sprintf("does not connect to the host (%d): have it let requests to the host and its port pass, or name another one in HTTPS_PROXY", int(r))
}

// proxyLogin says how a login is given to a proxy.
func proxyLogin(variable string) string {
	return "put user and password into its URL in " + variable + ", like http://user:password@host:port, or correct them there"
}

// checkConnected is told what a proxy says of a connection. net/http makes an error of the text
// beside the status, in words that came from there.
func checkConnected(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: proxyRefusal(resp.StatusCode)}
}

// proxyProblem returns why a proxy cannot be used, or the empty string.
func proxyProblem(value string) string {
	if value == "" {
		return ""
	}
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil {
		return "is not a URL"
	}
	port := u.Port()
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme):
		return "has a scheme that is none of a proxy"
	case u.Hostname() == "" || strings.ContainsAny(u.Hostname(), " \t,"):
		return "names no host"
	case port != "" && (err != nil || n == 0):
		return "has no port between 1 and 65535"
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "holds more than scheme, login, host and port"
	}
	return ""
}

// exceptionProblem returns why an entry of NO_PROXY makes no exception, or the empty string.
func exceptionProblem(entry string) string {
	switch {
	case entry == "" || entry == "*":
		return ""
	case strings.Contains(entry, "://"):
		return "is a URL"
	case strings.ContainsAny(entry, " \t;"):
		return "holds a blank or a semicolon"
	case strings.Contains(entry, "/"):
		if _, _, err := net.ParseCIDR(entry); err != nil {
			return "is not address/bits"
		}
	case strings.Contains(strings.TrimPrefix(entry, "*."), "*"):
		return fmt.Sprintf("has a wildcard in the middle of %d characters", len(entry))
	}
	return ""
}
