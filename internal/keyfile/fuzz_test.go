package keyfile_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/lab/authority"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

// marked stands in a file in place of each small letter and digit: none of our words has it, so an
// error that has it quotes the file. Capitals stay, or no file would be PEM.
const marked = 'Ж'

// FuzzFiles reads a file as a secret, a private key and certificates. What is taken is what the file
// holds, and what is refused is so for a reason that quotes nothing of it.
func FuzzFiles(f *testing.F) {
	ca, err := authority.New()
	if err != nil {
		f.Fatal(err)
	}
	pair, err := ca.Issue(x509.Certificate{})
	if err != nil {
		f.Fatal(err)
	}
	_, key, err := authority.PEM(pair)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		ca.PEM, key, append(slices.Clone(key), ca.PEM...), []byte("secret\n"), []byte("\ufeffsecret"), []byte("\xff\xfes\x00"), []byte(`"quoted"`), []byte("two\r\nlines"),
		{0x30, 0x82},
		[]byte("-----BEGIN secret-----\nAA==\n-----END secret-----\n"), []byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"),
		[]byte(`{"kty":"RSA"}`), []byte("ssh-rsa AAAA"), []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n"), []byte("-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END X-----\n"),
	} {
		f.Add(seed)
	}
	name := filepath.Join(f.TempDir(), "file")
	now := time.Now()
	f.Fuzz(func(t *testing.T, content []byte) {
		defer bounded.Within(t, 8<<20+300*len(content))()
		put := func(content []byte) {
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put(content)
		secret, err := keyfile.Secret(name)
		if err == nil && (secret == "" || secret != strings.TrimRight(string(content), "\r\n") || !utf8.ValidString(secret) || strings.ContainsFunc(secret, func(r rune) bool { return !unicode.IsGraphic(r) })) {
			t.Errorf("%q is taken as the secret %q", content, secret)
		}
		if signer, err := keyfile.PrivateKey(name); err == nil && (signer == nil || !hasBlock(content, "PRIVATE KEY")) {
			t.Errorf("%q is taken as a key", content)
		}
		if found, problems := (keyfile.TLS{CA: name}).Read(now); len(problems) == 0 && (found.Roots == nil || found.Ends["ca_file"].Before(now) || !hasBlock(content, "CERTIFICATE")) {
			t.Errorf("%q is taken as certificates until %v", content, found.Ends["ca_file"])
		}
		put([]byte(strings.Map(func(r rune) rune {
			if unicode.IsLower(r) || unicode.IsDigit(r) {
				return marked
			}
			return r
		}, string(content))))
		_, asSecret := keyfile.Secret(name)
		_, asKey := keyfile.PrivateKey(name)
		_, asTLS := (keyfile.TLS{CA: name, Cert: name, Key: name}).Read(now)
		for _, err := range []error{asSecret, asKey} {
			if err != nil && strings.ContainsRune(err.Error(), marked) {
				t.Errorf("an error quotes the file: %v", err)
			}
		}
		for _, p := range asTLS {
			if strings.ContainsRune(p.Problem, marked) {
				t.Errorf("a problem quotes the file: %v", p)
			}
		}
	})
}

// hasBlock reports whether a text has a PEM block of a kind.
func hasBlock(content []byte, kind string) bool {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
	}
	return false
}
