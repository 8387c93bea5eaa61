package upstream

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/contactsync/contactsync/internal/lab/logbuffer"
)

func TestReadKey_Problems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("small keys cannot be generated here")
	}
	now := time.Unix(1_767_951_304, 0)
	jwtUntil := func(end time.Time) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"appId": "canary", "exp": end.Unix()}).SignedString([]byte(testSecret))
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	files := map[string]string{
		"good": testSecret, "empty": "", "short": "canary", "lines": "canary-one\ncanary-two", "umlaut": "canarytökentöken", "bearer": "bearer canary.canary.canary",
		"quotes": `"canary-secret-0123456789"`, "expired": jwtUntil(now), "fresh": jwtUntil(now.Add(time.Second)),
		"small": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)})),
	}
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		cfg       Credentials
		key, want string // none where the files are good
	}{
		{Credentials{ClientID: "x", ClientSecretFile: in("good")}, "", ""},
		{Credentials{ClientID: "x", ClientSecretFile: "canary-secret"}, "client_secret_file", "no such file"},
		{Credentials{ClientID: "x", ClientSecretFile: dir}, "client_secret_file", "a directory"},
		{Credentials{ClientID: "x", ClientSecretFile: in("empty")}, "client_secret_file", "is empty"},
		{Credentials{ClientID: "x", ClientSecretFile: in("short")}, "client_secret_file", "at least 8"},
		{Credentials{ClientID: "x", ClientSecretFile: in("quotes")}, "client_secret_file", "quotes"},
		{Credentials{ClientIDFile: in("empty"), ClientSecretFile: in("good")}, "client_id_file", "is empty"},
		{Credentials{ClientID: "x", PrivateKeyFile: in("good")}, "private_key_file", "no PEM block"},
		{Credentials{ClientID: "x", PrivateKeyFile: in("small")}, "private_key_file", "1024 bits"},
		{Credentials{StaticTokenFile: in("lines")}, "static_token_file", "several lines"},
		{Credentials{StaticTokenFile: in("umlaut")}, "static_token_file", "printable ASCII"},
		{Credentials{StaticTokenFile: in("bearer")}, "static_token_file", "without \"bearer\""},
		{Credentials{StaticTokenFile: in("expired")}, "static_token_file", "expired at 2026-01-09T09:35:04Z"},
		{Credentials{StaticTokenFile: in("fresh")}, "", ""},
	} {
		key, problems := readKey(tt.cfg, now)
		if tt.want == "" {
			if key == nil || len(problems) > 0 {
				t.Errorf("%+v: got %v", tt.cfg, problems)
			}
			continue
		}
		if len(problems) != 1 || problems[0].Key != tt.key || !strings.Contains(problems[0].Problem, tt.want) || strings.Contains(problems[0].Problem, "canary") {
			t.Errorf("%+v: got %v, want %s: %q", tt.cfg, problems, tt.key, tt.want)
		}
	}
}

func TestReadKey_FingerprintChangesWithEachFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := Credentials{ClientIDFile: filepath.Join(dir, "id"), ClientSecretFile: filepath.Join(dir, "secret")}
	seen := map[[sha256.Size]byte]bool{}
	for _, content := range [][2]string{{"app-1", testSecret}, {"app-2", testSecret}, {"app-2", "another-secret"}} {
		writeFile(t, c.ClientIDFile, content[0])
		writeFile(t, c.ClientSecretFile, content[1])
		key, problems := readKey(c, time.Now())
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if key.appID != content[0] || seen[key.fingerprint] {
			t.Errorf("%q: app id %q, fingerprint seen before: %v", content, key.appID, seen[key.fingerprint])
		}
		seen[key.fingerprint] = true
	}
}

func TestCredentials_EveryFileIsWatched(t *testing.T) {
	t.Parallel()
	c := Credentials{ClientIDFile: "id", ClientSecretFile: "secret", PrivateKeyFile: "key", StaticTokenFile: "token"}
	got := slices.Sorted(maps.Values(c.files()))
	if want := []string{"id", "key", "secret", "token"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What is less secret than it should be is told, and works.
func TestCredentials_Weakness(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	for _, tt := range []struct {
		mode      os.FileMode
		algorithm string
		bytes     int
		want      []string
	}{
		{0o400, "HS256", 32, nil},
		{0o440, "HS256", 32, nil},
		{0o660, "HS256", 32, nil},
		{0o444, "HS256", 32, []string{"world-readable"}},
		{0o604, "HS256", 31, []string{"world-readable", "31 bytes, and RFC 7518 asks for at least 32 with HS256"}},
		{0o600, "HS384", 47, []string{"at least 48 with HS384"}},
		{0o600, "HS512", 63, []string{"at least 64 with HS512"}},
		{0o600, "HS512", 64, nil},
	} {
		_ = os.Remove(file)
		writeFile(t, file, strings.Repeat("x", tt.bytes))
		if err := os.Chmod(file, tt.mode); err != nil {
			t.Fatal(err)
		}
		c := Credentials{ClientID: "x", ClientSecretFile: file, Algorithm: tt.algorithm}
		if _, problems := readKey(c, time.Now()); len(problems) > 0 {
			t.Errorf("%+v: %v", tt, problems)
		}
		var log logbuffer.Buffer
		c.logWeakness(slog.New(slog.NewTextHandler(&log, nil)), testAccount)
		cfg := Config{Accounts: []Account{{ID: testAccount, Credentials: c}}}
		found := cfg.Weaknesses()
		if len(found) != len(tt.want) || strings.Count(log.String(), "level=WARN") != len(tt.want) {
			t.Errorf("%+v: found %v, logged %s", tt, found, log.String())
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(found[i].Problem, want) || found[i].Key != "accounts[0].credentials.client_secret_file" || !strings.Contains(log.String(), want) {
				t.Errorf("%+v: found %v, logged %s, want %q", tt, found[i], log.String(), want)
			}
		}
	}
}
