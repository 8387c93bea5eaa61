package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync/internal/admin"
	"github.com/contactsync/contactsync/internal/lab/authority"
)

// The commands that talk to a replica do so where its admin port asks for TLS and a user.
func TestReplica_WithTLSAndUsers(t *testing.T) {
	t.Parallel()
	ca, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	web, client, err := ca.WebConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	released := ""
	s, err := admin.Listen(t.Context(), admin.Config{Listen: "127.0.0.1:0", WebConfigFile: web}, admin.Deps{
		Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Status: func() any {
			return json.RawMessage(`{"headline": {"text": "all is as the replica says"}, "window": {"holds": [{"stream": "st-7"}]}}`)
		},
		ReleaseHold: func(_, stream string) error { released = stream; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	good, err := os.ReadFile(settings(t, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "settings.yaml")
	text := strings.Replace(string(good), `admin: {listen: "127.0.0.1:0"}`, fmt.Sprintf("admin: {listen: %q, web_config_file: %q}", s.Addr(), web), 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	stranger := filepath.Join(dir, "stranger.yaml")
	if err := os.WriteFile(stranger, []byte("tls_config: {ca_file: ca.pem}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"the status", []string{"status", "--config", file, "--admin-client", client}, 0, "all is as the replica says"},
		{"the status without a user", []string{"status", "--config", file, "--admin-client", stranger}, 1, "401 Unauthorized): name a file with its user by --admin-client"},
		{"the status in clear", []string{"status", "--admin", s.Addr(), "--admin-client", client}, 1, "HTTP request to an HTTPS server"},
		{"by its address", []string{"hold", "list", "--admin", "https://" + s.Addr(), "--admin-client", client}, 0, "st-7"},
		{"by the settings", []string{"hold", "list", "--config", file, "--admin-client", client}, 0, "st-7"},
		{"a decision", []string{"hold", "release", "st-8", "--config", file, "--admin-client", client}, 0, "st-8 is tried at once"},
		{"without a user", []string{"hold", "list", "--config", file, "--admin-client", stranger}, 1, "401 Unauthorized): name a file with its user by --admin-client"},
		{"without its authority", []string{"hold", "list", "--config", file}, 1, "certificate signed by unknown authority"},
		{"without TLS", []string{"hold", "list", "--admin", s.Addr(), "--admin-client", client}, 1, "HTTP request to an HTTPS server"},
		{"no such file", []string{"hold", "list", "--config", file, "--admin-client", "no-such.yaml"}, 1, "read --admin-client: no such file"},
		{"no address", []string{"hold", "list", "--admin", "ftp://" + s.Addr()}, 2, "neither host:port nor https://host:port"},
		{"an address with a path", []string{"hold", "list", "--admin", "https://" + s.Addr() + "/status"}, 2, "neither host:port nor https://host:port"},
	} {
		code, stdout, stderr := program(t, test.args...)
		if output := stdout + stderr; code != test.code || !strings.Contains(output, test.want) || strings.Contains(output, authority.WebPassword) {
			t.Errorf("%s: exit code %d\n%s", test.name, code, output)
		}
	}
	if released != "st-8" {
		t.Errorf("released is %q", released)
	}
	if code, stdout, stderr := program(t, "check", "--config", file); code != 0 {
		t.Errorf("check: exit code %d\n%s%s", code, stdout, stderr)
	}
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := program(t, "check", "--config", file); code != 1 || !strings.Contains(stdout, "admin.web_config_file") {
		t.Errorf("check without the key: exit code %d\n%s", code, stdout)
	}
}
