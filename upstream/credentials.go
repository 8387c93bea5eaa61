package upstream

import (
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minSecretBytes = 8 // less can be guessed
	minRSABits     = 2048
	maxFileBytes   = 64 << 10 // of a credential file
)

// key is the content of an account's credential files.
type key struct {
	appID       string
	secret      Secret
	private     *rsa.PrivateKey
	static      Secret
	fingerprint [sha256.Size]byte // changes with the files
}

// readKey reads the credential files. Its errors name files, never content.
func readKey(c Credentials) (*key, error) {
	if c.StaticTokenFile != "" {
		token, err := readSecret(c.StaticTokenFile)
		if err != nil {
			return nil, err
		}
		// A header cannot carry anything else, and net/http would quote the value in its error.
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("static token file %s: must be one line of printable ASCII without spaces", c.StaticTokenFile)
		}
		return &key{static: newSecret(token), fingerprint: sha256.Sum256([]byte(token))}, nil
	}
	k := &key{appID: c.ClientID}
	if c.ClientIDFile != "" {
		id, err := readFile(c.ClientIDFile)
		if err != nil {
			return nil, err
		}
		if id == "" {
			return nil, fmt.Errorf("client id file %s is empty", c.ClientIDFile)
		}
		k.appID = id
	}
	file := c.ClientSecretFile
	if c.PrivateKeyFile != "" {
		file = c.PrivateKeyFile
	}
	text, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	if c.PrivateKeyFile != "" {
		k.private, err = jwt.ParseRSAPrivateKeyFromPEM([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("private key file %s: no RSA key in PEM form in it", file)
		}
		if bits := k.private.N.BitLen(); bits < minRSABits {
			return nil, fmt.Errorf("private key file %s: %d bits are too few, at least %d", file, bits, minRSABits)
		}
	} else {
		k.secret = newSecret(text)
	}
	k.fingerprint = sha256.Sum256([]byte(k.appID + "\x00" + text))
	return k, nil
}

func readSecret(file string) (string, error) {
	text, err := readFile(file)
	if err != nil {
		return "", err
	}
	if len(text) < minSecretBytes {
		return "", fmt.Errorf("secret file %s: %d bytes are too few, at least %d", file, len(text), minSecretBytes)
	}
	return text, nil
}

// readFile returns the content without the line end that editors add.
func readFile(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read credentials: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return "", fmt.Errorf("read credentials: %w", err)
	}
	if len(data) > maxFileBytes {
		return "", fmt.Errorf("read credentials %s: more than %d bytes are not a secret", file, maxFileBytes)
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// secretFiles returns the files of an account that hold a secret.
func (c Credentials) secretFiles() []string {
	return nonEmpty(c.ClientSecretFile, c.PrivateKeyFile, c.StaticTokenFile)
}

// files returns every file of the credentials.
func (c Credentials) files() []string {
	return append(c.secretFiles(), nonEmpty(c.ClientIDFile)...)
}

func nonEmpty(names ...string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// warnReadable logs each secret file that every user of the machine can read.
func (c Credentials) warnReadable(log *slog.Logger, account string) {
	for _, file := range c.secretFiles() {
		info, err := os.Stat(file)
		if err != nil {
			continue // reported by readKey
		}
		if info.Mode().Perm()&0o004 != 0 {
			log.Warn("secret file is world-readable: set its mode to 0400 or 0440", "account", account, "file", file)
		}
	}
}
