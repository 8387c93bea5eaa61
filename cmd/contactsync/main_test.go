package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/contactsync/contactsync/internal/lab/stub"
)

// program runs the command line in process.
func program(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = run(t.Context(), args, nil, &out, &errs)
	return code, out.String(), errs.String()
}

func TestCheck_PrintsEveryErrorWithItsLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bad.yaml")
	text := "consumer:\n  topics: [contacts]\n  groop: g\nbatcher:\n  max_rows: 0\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := program(t, "check", "--config", file)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for _, want := range []string{"bad.yaml:3: consumer.groop", "bad.yaml:5: batcher.max_rows", "kafka.brokers", "upstream.accounts", "deadletter.topic"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("the output lacks %q:\n%s", want, stderr)
		}
	}
	if code, _, again := program(t, "run", "--config", file); code != 2 || again != stderr {
		t.Errorf("run: code %d and other errors than check:\n%s", code, again)
	}
}

// settings writes a settings file that is right, for a broker and an API in process.
func settings(t *testing.T, letters string) string {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "contacts"), kfake.SeedTopics(1, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	api, err := stub.New(stub.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	secret, file := filepath.Join(dir, "secret"), filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(secret, []byte(stub.LabSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`
kafka: {brokers: [%q]}
consumer: {topics: [contacts], group: g}
deadletter: {topic: %s}
admin: {listen: "127.0.0.1:0"}
upstream:
  accounts:
    - {id: acme, host: %q, allow_plaintext: true, credentials: {client_id: %s, client_secret_file: %q}}
`, cluster.ListenAddrs()[0], letters, api.URL(), stub.LabAppID, secret)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCheck_Connect(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := program(t, "check", "--connect", "--config", settings(t, "dead"))
	if code != 0 || !strings.Contains(stdout, "\nok: brokers and hosts answer") || !strings.Contains(stdout, "account acme: streams * to http://127.0.0.1") {
		t.Errorf("code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ = program(t, "check", "--connect", "--config", settings(t, "no-such-topic"))
	if code != 1 || !strings.Contains(stdout, `deadletter.topic: topic "no-such-topic" does not exist`) {
		t.Errorf("missing topic: code %d\n%s", code, stdout)
	}
}

func TestCheck_SaysWhoTakesAStream(t *testing.T) {
	t.Parallel()
	code, stdout, _ := program(t, "check", "--stream", "st-42", "--config", settings(t, "dead"))
	if code != 0 || !strings.HasPrefix(stdout, `stream st-42: account acme, by "*" (upstream.accounts[0].streams[0])`) {
		t.Errorf("code %d\n%s", code, stdout)
	}
}

func TestCheck_PrintShowsSettingsInForce(t *testing.T) {
	t.Parallel()
	code, stdout, _ := program(t, "check", "--print", "--config", settings(t, "dead"))
	if code != 0 || !strings.Contains(stdout, "max_rows: 100") || strings.Contains(stdout, stub.LabSecret) {
		t.Errorf("code %d\n%s", code, stdout)
	}
}

func TestRun_StopsInOrder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("signal: terminated"))
	var out, errs strings.Builder
	if code := run(ctx, []string{"run", "--config", settings(t, "dead")}, nil, &out, &errs); code != 0 {
		t.Errorf("code %d\n%s", code, &errs)
	}
	for _, want := range []string{`"msg":"started"`, `"msg":"stopping","cause":"signal: terminated"`, `"msg":"stopped"`} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &errs)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if code, stdout, _ := program(t, "version"); code != 0 || !strings.HasPrefix(stdout, "contactsync ") {
		t.Errorf("code %d, %q", code, stdout)
	}
	if code, _, stderr := program(t, "no-such-command", "-c", "x"); code != 2 || !strings.Contains(stderr, `unknown command "no-such-command"`) {
		t.Errorf("unknown command: code %d, %q", code, stderr)
	}
	if code, _, stderr := program(t, "verison"); code != 2 || !strings.Contains(stderr, "did you mean version?") {
		t.Errorf("a slip of the pen: code %d, %q", code, stderr)
	}
	for _, args := range [][]string{{"--config", "x"}, {"-c", "x"}, {"--version"}, {"dlq", "--bogus"}, {"dlq", "-o", "json"}} {
		if code, _, stderr := program(t, args...); code != 2 || !strings.Contains(stderr, "it belongs to a command") {
			t.Errorf("%v: code %d, %q", args, code, stderr)
		}
	}
	if code, stdout, _ := program(t, []string{}...); code != 0 || !strings.Contains(stdout, "Available Commands") {
		t.Errorf("no command: code %d, %q", code, stdout)
	}
	if code, _, stderr := program(t, "run"); code != 2 || !strings.Contains(stderr, "--config FILE") {
		t.Errorf("no settings: code %d, %q", code, stderr)
	}
	if code, _, stderr := program(t, "run", "--no-such-flag"); code != 2 || !strings.Contains(stderr, "no-such-flag") {
		t.Errorf("unknown flag: code %d, %q", code, stderr)
	}
}

// As in an image that is built from an archive, without a repository.
func TestVersion_WithoutARevision(t *testing.T) {
	t.Parallel()
	_, rev := revision()
	code, stdout, stderr := program(t, "version")
	if code != 0 || strings.Contains(stdout, "(revision ,") || rev == "" && !strings.Contains(stdout, "(revision unknown, ") {
		t.Errorf("code %d\n%s%s", code, stdout, stderr)
	}
}
