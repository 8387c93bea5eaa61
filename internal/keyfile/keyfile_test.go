package keyfile_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/lab/authority"
)

// canary stands for a secret: no error may hold it.
const canary = "c4n4ry-secret"

func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// refuse checks that an error says what it should, and quotes nothing.
func refuse(t *testing.T, name string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
		t.Errorf("%s: got %v, want %q", name, err, want)
	}
}

func TestRead_TakesRegularFilesOnlyAndNeverWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Skip("no named pipes here")
	}
	for from, to := range map[string]string{"link to a pipe": "pipe", "link to nowhere": canary, "loop": "loop"} {
		if err := os.Symlink(to, at(from)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		dir: "a directory", at("pipe"): "a named pipe", at("link to a pipe"): "a named pipe", "/dev/zero": "a device", "/dev/null": "a device",
		at("link to nowhere"): "leads nowhere", at("loop"): "leads nowhere",
		at(canary): "no such file", canary: "no such file", "": "no such file", strings.Repeat(canary, 400): "cannot be opened",
		canary + "\x00": "cannot be opened", write(t, "") + "/" + canary: "cannot be opened",
		write(t, strings.Repeat("x", keyfile.MaxBytes+1)): "larger than",
	} {
		_, err := keyfile.Read(name)
		refuse(t, name, err, want)
	}
	if got, err := keyfile.Read(write(t, "text")); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestContent_WaitsForAPipeUntilThen(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here")
	}
	for late, want := range map[bool]string{true: "", false: "text"} {
		writer, err := os.OpenFile(pipe, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writer.WriteString("text"); err != nil {
			t.Fatal(err)
		}
		_ = writer.Close()
		until := time.Now()
		if !late {
			until = until.Add(time.Hour)
		}
		if got, err := keyfile.Content(reader, 10, until); string(got) != want || (err != nil) != late {
			t.Errorf("its time has passed: %v: %q, %v", late, got, err)
		}
		_ = reader.Close()
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"": "is empty", "\n": "nothing but blanks", " \t \r\n": "nothing but blanks",
		"\ufeff" + canary: "byte order mark", "\xff\xfec\x004\x00": "UTF-16", "\xfe\xff\x00c\x004": "UTF-16", "\xc3" + canary: "no text",
		`"` + canary + `"`: "quotes", "'" + canary + "'\n": "quotes", "`" + canary + "`": "quotes", `"` + canary + `" `: "quotes",
		" " + canary: "a blank", canary + " \n": "a blank", "\t" + canary: "a blank", canary + "\u00a0": "a blank",
		canary + "\n" + canary: "several lines", canary + "\r\n" + canary + "\r\n": "Windows line ends", canary + "\r" + canary: "several lines",
		canary + "\x00": "cannot be seen", canary + "\u200b" + canary: "cannot be seen",
		"-----BEGIN CERTIFICATE-----\n" + canary: "holds a certificate", "-----BEGIN RSA PRIVATE KEY-----\n" + canary: "holds a private key", "-----BEGIN " + canary + "-----": "another kind",
	} {
		_, err := keyfile.Secret(write(t, content))
		refuse(t, content, err, want)
	}
	for content, want := range map[string]string{
		canary: canary, canary + "\n": canary, canary + "\r\n": canary, canary + "\n\n": canary, "two words": "two words", `"`: `"`, `a"`: `a"`, "пароль": "пароль",
	} {
		if got, err := keyfile.Secret(write(t, content)); err != nil || got != want {
			t.Errorf("%q: got %q, %v", content, got, err)
		}
	}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func TestRSAKey_NamesEachOtherKindOfKey(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PrivateKey(key)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: pkcs1})
	for name, tt := range map[string]struct{ content, want string }{
		"public key":           {block("PUBLIC KEY", public), "holds a public key"},
		"public key of PKCS#1": {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.PublicKey)), "holds a public key"},
		"encrypted":            {string(encrypted), "is encrypted"},
		"encrypted PKCS#8":     {block("ENCRYPTED PRIVATE KEY", pkcs1), "is encrypted"},
		"EC":                   {block("EC PRIVATE KEY", sec1), "holds an EC key: a private RSA key"},
		"EC with parameters":   {block("EC PARAMETERS", nil) + block("EC PRIVATE KEY", sec1), "holds an EC key"},
		"EC in PKCS#8":         {pkcs8(t, curve), "holds an EC key"},
		"Ed25519":              {pkcs8(t, edwards), "holds an Ed25519 key"},
		"certificate":          {string(issuer.PEM), "holds a certificate: a private key"},
		"request":              {block("CERTIFICATE REQUEST", nil), "a certificate request"},
		"OpenSSH":              {block("OPENSSH PRIVATE KEY", nil), "ssh-keygen -p -m PEM"},
		"SSH public key":       {"ssh-rsa AAAA" + canary, "a public key of SSH"},
		"damaged":              {block("RSA PRIVATE KEY", pkcs1[:100]), "cannot be read"},
		"too large":            {block("RSA PRIVATE KEY", make([]byte, 17<<10)), "larger than any in use"},
		"too large in PKCS#8":  {block("PRIVATE KEY", make([]byte, 17<<10)), "larger than any in use"},
		"other and too large":  {block("OTHER PRIVATE KEY", make([]byte, 17<<10)) + pkcs8(t, key), "larger than any in use"}, // crypto/tls would take it
		"other kind of block":  {block(canary, nil), "another kind"},
		"JWK":                  {`{"kty":"RSA","d":"` + canary + `"}`, "JWK"},
		"DER":                  {string(pkcs1), "holds DER"},
		"byte order mark":      {"\ufeff" + block("RSA PRIVATE KEY", pkcs1), "byte order mark"},
		"on one line":          {strings.ReplaceAll(block("RSA PRIVATE KEY", pkcs1), "\n", " "), "a damaged PEM block"},
		"secret":               {canary, "no PEM block"},
		"empty":                {"", "nothing"},
	} {
		_, err := keyfile.RSAKey(write(t, tt.content))
		refuse(t, name, err, tt.want)
	}
	for name, content := range map[string]string{
		"PKCS#1": block("RSA PRIVATE KEY", pkcs1), "PKCS#8": pkcs8(t, key), "behind its certificate": string(issuer.PEM) + pkcs8(t, key),
		"Windows line ends": strings.ReplaceAll(pkcs8(t, key), "\n", "\r\n"),
	} {
		if got, err := keyfile.RSAKey(write(t, content)); err != nil || !got.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLS_Read(t *testing.T) {
	t.Parallel()
	issuer, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	issue := func(until time.Time) (certFile, keyFile string, pair tls.Certificate) {
		pair, err := issuer.Issue(x509.Certificate{Subject: pkix.Name{CommonName: "client"}, NotAfter: until})
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := authority.PEM(pair)
		if err != nil {
			t.Fatal(err)
		}
		return write(t, string(cert)), write(t, string(key)), pair
	}
	ca := write(t, string(issuer.PEM))
	cert, key, _ := issue(now.Add(time.Hour))
	expired, expiredKey, _ := issue(now.Add(-time.Minute))
	_, stranger, _ := issue(now.Add(time.Hour))
	for name, tt := range map[string]struct {
		files     keyfile.TLS
		at        time.Time
		key, want string // none where the files are good
	}{
		"nothing":                  {keyfile.TLS{}, now, "", ""},
		"all":                      {keyfile.TLS{CA: ca, Cert: cert, Key: key}, now, "", ""},
		"a bundle with a bad part": {keyfile.TLS{CA: write(t, block("CERTIFICATE", nil)+string(issuer.PEM))}, now, "", ""},
		"authority is missing":     {keyfile.TLS{CA: canary}, now, "ca_file", "no such file"},
		"authority is a key":       {keyfile.TLS{CA: key}, now, "ca_file", "holds a private key: a certificate"},
		"authority is damaged":     {keyfile.TLS{CA: write(t, block("CERTIFICATE", nil))}, now, "ca_file", "a damaged certificate"},
		"authority has expired":    {keyfile.TLS{CA: ca}, now.Add(2 * time.Hour), "ca_file", "expired at"},
		"key for certificate":      {keyfile.TLS{Cert: key, Key: key}, now, "cert_file", "holds a private key: a certificate"},
		"certificate for key":      {keyfile.TLS{Cert: cert, Key: cert}, now, "key_file", "holds a certificate: a private key"},
		"of another":               {keyfile.TLS{Cert: cert, Key: stranger}, now, "key_file", "is not the key of"},
		"expired":                  {keyfile.TLS{Cert: expired, Key: expiredKey}, now, "cert_file", "expired at"},
		"not yet":                  {keyfile.TLS{Cert: cert, Key: key}, now.Add(-3 * time.Hour), "cert_file", "clock"},
	} {
		_, problems := tt.files.Read(tt.at)
		if tt.want == "" {
			if len(problems) > 0 {
				t.Errorf("%s: %v", name, problems)
			}
			continue
		}
		if len(problems) != 1 || problems[0].Key != tt.key || !strings.Contains(problems[0].Problem, tt.want) || strings.Contains(problems[0].Problem, canary) {
			t.Errorf("%s: got %v, want %s: %q", name, problems, tt.key, tt.want)
		}
	}
	before, _ := keyfile.TLS{CA: ca, Cert: cert, Key: key}.Read(now)
	again, _ := keyfile.TLS{CA: ca, Cert: cert, Key: key}.Read(now)
	cert, key, _ = issue(now.Add(time.Hour))
	after, _ := keyfile.TLS{CA: ca, Cert: cert, Key: key}.Read(now)
	if before.Digest != again.Digest || before.Digest == after.Digest {
		t.Error("the digest does not follow the content")
	}
}
