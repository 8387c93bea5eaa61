package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/contactsync/contactsync/internal/lab/stub"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStub_RunsUntilTheSignal(t *testing.T) {
	t.Parallel()
	logFile := filepath.Join(t.TempDir(), "calls.jsonl")
	s := serve(t, "stub", "--listen", "127.0.0.1:0", "--secret-file", write(t, "secret", "of-the-file\n"), "--log", logFile,
		"--scenario", write(t, "scenario.yaml", "rules: [{name: first, last: 1, answer: {status: 503}}]"))
	if !strings.Contains(s.first, "/stats") {
		t.Fatalf("first line %q: %s", s.first, s.stderr.String())
	}
	base := strings.TrimSuffix(strings.Fields(s.first)[6], ",")
	if a, b := call(t, base), call(t, base); a != 503 || b != 200 {
		t.Errorf("answers %d and %d, want 503 and 200", a, b)
	}
	http.DefaultClient.CloseIdleConnections()
	if text := s.rest(); !strings.Contains(text, "200: 1, 503: 1") || !strings.Contains(text, "rows applied          1") {
		t.Errorf("counters at the end:\n%s", text)
	}
	f, err := os.Open(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	calls, err := stub.ReadLog(f)
	if err != nil || len(calls) != 2 || calls[0].Rule != "first" || calls[1].Order != 1 {
		t.Errorf("log %+v, %v", calls, err)
	}
}

// call sends one contact with the secret of the file, as account acc.
func call(t *testing.T, base string) int {
	t.Helper()
	const body = `[{"id":"6964af60450340957c6aaaaa","firstName":"x","lastName":"y","salutation":"mr","cellPhone":{"extension":"+","phoneNumber":"1","countryCode":"+1"},"seq":1}]`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/agentassist/api/v1/public/st-0000/contacts/bulk-update", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{"appId": stub.LabAppID, "exp": time.Now().Add(time.Minute).Unix()}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("of-the-file"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("auth", token)
	req.Header.Set("accountId", "acc")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestRun_Faults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		code int
		text string
	}{
		{"unknown flag", []string{"stub", "--nothing"}, 2, "unknown flag"},
		{"bad duration", []string{"stub", "--latency", "soon"}, 2, "latency"},
		{"unknown command", []string{"dance"}, 1, "unknown command"},
		{"no secret file", []string{"stub", "--secret-file", "/nonexistent"}, 1, "read the secret"},
		{"no scenario", []string{"stub", "--scenario", "/nonexistent"}, 1, "read the scenario"},
		{"bad scenario", []string{"stub", "--scenario", write(t, "s.yaml", "rules: [{name: a}]")}, 2, "needs an answer or rows"},
		{"no variant", []string{"vendor", "--variant", "none"}, 2, "no variant"},
		{"no address", []string{"vendor", "--listen", "127.0.0.1:-1"}, 1, "start the vendor's API"},
		{"bad address", []string{"stub", "--listen", "127.0.0.1:-1"}, 1, "start the stub"},
		{"no partitions", []string{"broker", "--topics", "a=0"}, 2, "a=0"},
		{"bad share", []string{"produce", "--poison", "2"}, 2, "share of poison"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), tt.args, &stdout, &stderr)
			if code != tt.code || !strings.Contains(stderr.String(), tt.text) {
				t.Errorf("exit code %d and %q, want %d with %q", code, stderr.String(), tt.code, tt.text)
			}
		})
	}
}
