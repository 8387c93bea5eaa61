package upstream

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/logbuffer"
)

func TestReadKey_Problems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("small keys cannot be generated here")
	}
	files := map[string]string{
		"good": testSecret, "empty": "", "lines": "token-one\ntoken-two", "umlaut": "tökentökentöken",
		"small": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)})),
	}
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		cfg  Credentials
		want string
	}{
		{Credentials{ClientID: "x", ClientSecretFile: in("missing")}, "no such file"},
		{Credentials{ClientID: "x", ClientSecretFile: dir}, "directory"},
		{Credentials{ClientID: "x", ClientSecretFile: in("empty")}, "at least 8"},
		{Credentials{ClientIDFile: in("empty"), ClientSecretFile: in("good")}, "is empty"},
		{Credentials{ClientID: "x", PrivateKeyFile: in("good")}, "no RSA key"},
		{Credentials{ClientID: "x", PrivateKeyFile: in("small")}, "1024 bits"},
		{Credentials{StaticTokenFile: in("lines")}, "one line of printable ASCII"},
		{Credentials{StaticTokenFile: in("umlaut")}, "one line of printable ASCII"},
	} {
		_, err := readKey(tt.cfg)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: got %v, want %q", tt.cfg, err, tt.want)
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
		key, err := readKey(c)
		if err != nil {
			t.Fatal(err)
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
	got := c.files()
	slices.Sort(got)
	if want := []string{"id", "key", "secret", "token"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCredentials_WarnReadable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	writeFile(t, file, testSecret)
	for mode, want := range map[os.FileMode]bool{0o400: false, 0o440: false, 0o660: false, 0o444: true, 0o604: true} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		var log logbuffer.Buffer
		Credentials{ClientSecretFile: file}.warnReadable(slog.New(slog.NewTextHandler(&log, nil)), testAccount)
		if got := strings.Contains(log.String(), "world-readable"); got != want {
			t.Errorf("mode %o: logged %q", mode, log.String())
		}
	}
}
