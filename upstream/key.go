package upstream

import (
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	leastSecret = 8        // bytes: less can be guessed
	leastRSA    = 2048     // bits
	mostSecret  = 64 << 10 // bytes of a credential file
)

// key is what the credential files of an account hold.
type key struct {
	appID   string
	secret  Secret
	private *rsa.PrivateKey
	static  Secret
	print   [sha256.Size]byte // tells whether the files have changed
}

// readKey reads the credential files. Its errors name files, never content.
func readKey(c Credentials) (*key, error) {
	if c.StaticTokenFile != "" {
		token, err := readSecret(c.StaticTokenFile)
		if err != nil {
			return nil, err
		}
		// A header carries nothing else, and net/http would name the value in its error.
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("static token file %s: holds more than one line of plain characters", c.StaticTokenFile)
		}
		return &key{static: newSecret(token), print: sha256.Sum256([]byte(token))}, nil
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
		if bits := k.private.N.BitLen(); bits < leastRSA {
			return nil, fmt.Errorf("private key file %s: %d bits are too few, at least %d", file, bits, leastRSA)
		}
	} else {
		k.secret = newSecret(text)
	}
	k.print = sha256.Sum256([]byte(k.appID + "\x00" + text))
	return k, nil
}

func readSecret(file string) (string, error) {
	text, err := readFile(file)
	if err != nil {
		return "", err
	}
	if len(text) < leastSecret {
		return "", fmt.Errorf("secret file %s: %d bytes are too few, at least %d", file, len(text), leastSecret)
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
	data, err := io.ReadAll(io.LimitReader(f, mostSecret+1))
	if err != nil {
		return "", fmt.Errorf("read credentials: %w", err)
	}
	if len(data) > mostSecret {
		return "", fmt.Errorf("read credentials %s: more than %d bytes are no secret", file, mostSecret)
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// secretFiles lists the files of an account that hold a secret.
func (c Credentials) secretFiles() []string {
	return nonEmpty(c.ClientSecretFile, c.PrivateKeyFile, c.StaticTokenFile)
}

// files lists every file of the credentials.
func (c Credentials) files() []string {
	return append(c.secretFiles(), nonEmpty(c.ClientIDFile)...)
}

func nonEmpty(names ...string) []string {
	var kept []string
	for _, n := range names {
		if n != "" {
			kept = append(kept, n)
		}
	}
	return kept
}

// warnOpenFiles logs each secret file that everybody on the machine may read.
func (c Credentials) warnOpenFiles(log *slog.Logger, account string) {
	for _, file := range c.secretFiles() {
		info, err := os.Stat(file)
		if err != nil {
			continue
		}
		if info.Mode().Perm()&0o004 != 0 {
			log.Warn("secret file is readable by everybody: set its mode to 0400 or 0440", "account", account, "file", file)
		}
	}
}
