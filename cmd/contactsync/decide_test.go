package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asked runs a command against a replica that gives one answer, and returns how it ended and
// what the replica was asked, as METHOD PATH?QUERY; nothing where it was not.
func asked(t *testing.T, status int, answer string, command, args []string) (code int, output, question string) {
	t.Helper()
	replica := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question = r.Method + " " + r.URL.Path + "?" + r.URL.RawQuery
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	defer replica.Close()
	all := append(append([]string{}, command...), "--admin", strings.TrimPrefix(replica.URL, "http://"))
	code, stdout, stderr := program(t, append(all, args...)...)
	return code, stdout + stderr, question
}

// Passwords are in the file of --admin-client, so what is wrong with it is told by its lines.
func TestReplica_QuotesNothingOfTheClientsFile(t *testing.T) {
	t.Parallel()
	const canary = "hunter2c4n4ry"
	for text, want := range map[string]string{
		"basic_auth: " + canary: ", line 1: not in the form of Prometheus' http_config",
		"tls_config: {}\n\nbasic_auth: {username: a, passwrd: " + canary + "}": ", line 3: not in the form",
		"basic_auth: {username: a, " + canary + ": b}":                         ", line 1: not in the form",
		"basic_auth: {username: a, password: " + canary + "\n":                 "not in the form",
		canary: "not in the form",
		"proxy_url: \"http://a:" + canary + "@%zz\"":                            "not in the form",
		"authorization: {type: basic, credentials: " + canary + "}":             "not in the form",
		"basic_auth: {username: a, password: b, password_file: " + canary + "}": "not in the form",
		"basic_auth: {username: a, password_file: " + canary + "}":              "no such file (its name is not repeated",
		"tls_config: {ca_file: " + canary + "}":                                 "no such file (its name is not repeated",
		"\t" + canary:                                                           "not in the form",
	} {
		file := filepath.Join(t.TempDir(), "client.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := program(t, "status", "--admin", "127.0.0.1:1", "--admin-client", file)
		if output := stdout + stderr; code != 1 || !strings.Contains(output, want) || strings.Contains(output, canary) {
			t.Errorf("%q: exit code %d\n%s", text, code, output)
		}
	}
}

// Without settings there is still a way to ask a replica, and the error names it.
func TestReplica_NamesTheWayWithoutSettings(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := program(t, "hold", "list")
	if code != 2 || stdout != "" || !strings.HasSuffix(stderr, "use --config FILE\ncontactsync: or name the replica: --admin HOST:PORT\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
