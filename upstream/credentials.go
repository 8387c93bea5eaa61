package upstream

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/setting"
)

const (
	minSecretBytes = 8 // less can be guessed
	minRSABits     = 2048
)

// key is the content of an account's credential files.
type key struct {
	appID       string
	secret      Secret
	private     *rsa.PrivateKey
	static      Secret
	fingerprint [sha256.Size]byte // changes with the files
}

// readKey reads the credential files. What is wrong is told by the setting, and never quotes
// content.
func readKey(c Credentials, now time.Time) (*key, []setting.Error) {
	var problems setting.Errors
	k := &key{appID: c.ClientID}
	digest := sha256.New()
	read := func(setting, file string, use func(text string) error) {
		if file == "" {
			return
		}
		text, err := keyfile.Secret(file)
		if err == nil {
			err = use(text)
		}
		if err != nil {
			problems.Add(setting, "%v", err)
		}
		_, _ = fmt.Fprintf(digest, "%s %d %s\n", setting, len(text), text) // a hash takes everything
	}
	read("static_token_file", c.StaticTokenFile, func(token string) error {
		k.static = newSecret(token)
		return tokenProblem(c.StaticTokenFile, token, now)
	})
	read("client_id_file", c.ClientIDFile, func(id string) error {
		k.appID = id
		return nil
	})
	read("client_secret_file", c.ClientSecretFile, func(secret string) error {
		k.secret = newSecret(secret)
		return secretProblem(c.ClientSecretFile, secret)
	})
	if c.PrivateKeyFile != "" {
		var err error
		if k.private, err = keyfile.RSAKey(c.PrivateKeyFile); err == nil {
			if bits := k.private.N.BitLen(); bits < minRSABits {
				err = fmt.Errorf("%s holds a key of %d bits, which are too few: at least %d", c.PrivateKeyFile, bits, minRSABits)
			}
			_, _ = digest.Write(x509.MarshalPKCS1PrivateKey(k.private))
		}
		if err != nil {
			problems.Add("private_key_file", "%v", err)
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	_, _ = fmt.Fprint(digest, k.appID)
	digest.Sum(k.fingerprint[:0])
	return k, nil
}

func secretProblem(file, secret string) error {
	if len(secret) < minSecretBytes {
		return fmt.Errorf("%s holds %d bytes, which are too few for a secret: at least %d", file, len(secret), minSecretBytes)
	}
	return nil
}

// tokenProblem returns why a token made elsewhere cannot work.
func tokenProblem(file, token string, now time.Time) error {
	// A header cannot carry anything else, and net/http would quote the value in its error.
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s has to hold printable ASCII without blanks: the token alone, without \"bearer\"", file)
	}
	if err := secretProblem(file, token); err != nil {
		return err
	}
	if end, ok := expiry(token); ok && !now.Before(end) {
		return fmt.Errorf("%s holds a token that expired at %s: put a new one in its place", file, end.UTC().Format(time.RFC3339))
	}
	return nil
}

// expiry returns when a token ends, if it is a JWT that says so.
func expiry(token string) (end time.Time, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return end, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return end, false
	}
	var claims struct {
		Exp *float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Exp == nil || *claims.Exp > 1e11 {
		return end, false
	}
	return time.Unix(int64(*claims.Exp), 0), true
}

// weakness returns what works, but is less secret than it should be.
func (c Credentials) weakness() []setting.Error {
	var found setting.Errors
	for _, f := range []struct{ setting, file string }{
		{"client_secret_file", c.ClientSecretFile},
		{"private_key_file", c.PrivateKeyFile},
		{"static_token_file", c.StaticTokenFile},
	} {
		if keyfile.WorldReadable(f.file) {
			found.Add(f.setting, "%s", keyfile.Readable(f.file))
		}
	}
	// RFC 7518, 3.2: a key of the hash's size or larger.
	least := map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}[c.Algorithm]
	if c.ClientSecretFile == "" || least == 0 {
		return found
	}
	if secret, err := keyfile.Secret(c.ClientSecretFile); err == nil && len(secret) < least {
		found.Add("client_secret_file", "%s holds %d bytes, and RFC 7518 asks for at least %d with %s: a shorter secret can be guessed from a token; have a longer one made",
			c.ClientSecretFile, len(secret), least, c.Algorithm)
	}
	return found
}

// files returns every file of the credentials.
func (c Credentials) files() keyfile.Files {
	return keyfile.FilesOf("client_secret_file", c.ClientSecretFile, "private_key_file", c.PrivateKeyFile, "static_token_file", c.StaticTokenFile, "client_id_file", c.ClientIDFile)
}

// logWeakness logs what is less secret than it should be.
func (c Credentials) logWeakness(log *slog.Logger, account string) {
	for _, w := range c.weakness() {
		log.Warn("credentials are less secret than they should be", "account", account, "setting", w.Key, "what", w.Problem)
	}
}
