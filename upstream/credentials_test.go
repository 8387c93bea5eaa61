package upstream

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadKey_Faults(t *testing.T) {
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
