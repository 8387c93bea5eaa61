package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/stub"
)

// edit changes the settings and writes them beside the old ones.
func edit(t *testing.T, file, old, now string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), old, now, 1)
	if changed == string(text) {
		t.Fatalf("%q is not in\n%s", old, text)
	}
	edited := file + ".edited"
	if err := os.WriteFile(edited, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return edited
}

// Check and run say of a file that cannot work by which line it was set, and do not repeat
// what may be a secret.
func TestCheck_FilesThatCannotWork(t *testing.T) {
	t.Parallel()
	good := settings(t, "dead")
	dir := filepath.Dir(good)
	secret := filepath.Join(dir, "secret")
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here")
	}
	const pasted = "pasted-canary-secret"
	for name, tt := range map[string]struct{ secret, want string }{
		"a secret in place of its file": {pasted, "no such file"},
		"a named pipe":                  {pipe, "a named pipe"},
		"a device":                      {"/dev/zero", "a device"},
	} {
		file := edit(t, good, secret, tt.secret)
		where := fmt.Sprintf("error: %s:8: upstream.accounts[0].credentials.client_secret_file: ", file)
		for _, command := range []string{"check", "run"} {
			code, stdout, stderr := program(t, command, "--config", file)
			if all := stdout + stderr; code != 1 || !strings.Contains(all, where) || !strings.Contains(all, tt.want) || strings.Contains(all, pasted) {
				t.Errorf("%s, %s: code %d\n%s", name, command, code, all)
			}
		}
		if code, stdout, _ := program(t, "check", "--print", "--config", file); code != 0 || strings.Contains(stdout, pasted) {
			t.Errorf("%s, printed: code %d\n%s", name, code, stdout)
		}
	}
	if code, stdout, _ := program(t, "check", "--config", good); code != 0 || strings.Contains(stdout, "world-readable") {
		t.Errorf("code %d\n%s", code, stdout)
	}
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := program(t, "check", "--config", good); code != 0 || !strings.Contains(stdout, "note: "+good+":8: upstream.accounts[0].credentials.client_secret_file: "+secret+" is world-readable") {
		t.Errorf("code %d\n%s", code, stdout)
	}
}

// A settings file that nobody writes is no reason to wait.
func TestCheck_SettingsAreAPipeThatNobodyWrites(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here")
	}
	var out, errs strings.Builder
	if code := run(context.Background(), []string{"check", "--config", pipe}, nil, &out, &errs); code != 2 {
		t.Errorf("code %d\n%s", code, &errs)
	}
}

func TestCheck_PrintHidesClaims(t *testing.T) {
	t.Parallel()
	file := edit(t, settings(t, "dead"), "client_id: "+stub.LabAppID, "client_id: "+stub.LabAppID+", claims: {tenant: canary, deep: {er: canary}}")
	if code, stdout, _ := program(t, "check", "--print", "--config", file); code != 0 || strings.Contains(stdout, "canary") || !strings.Contains(stdout, `tenant: "[redacted]"`) {
		t.Errorf("code %d\n%s", code, stdout)
	}
}
