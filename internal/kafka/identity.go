package kafka

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/setting"
)

// identity is what connections are made with: who the service is, and whom it trusts. It
// stays in use while the files that it came from cannot be used.
type identity struct {
	tls      *tls.Config // nil where TLS is off
	password string
	digest   [sha256.Size]byte    // changes with the files
	ends     map[string]time.Time // when certificates end, by the keys of their files
}

// identity reads the files, and returns everything that is wrong with them by their keys.
func (c Config) identity(now time.Time) (*identity, []setting.Error) {
	var problems setting.Errors
	id := &identity{ends: map[string]time.Time{}}
	digest := sha256.New()
	if c.TLS.Enabled {
		found, errs := c.TLS.files().Read(now)
		for _, e := range errs {
			problems.Add("tls."+e.Key, "%s", e.Problem)
		}
		id.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName, RootCAs: found.Roots, Certificates: found.Own}
		for key, end := range found.Ends {
			id.ends["tls."+key] = end
		}
		_, _ = digest.Write(found.Digest[:]) // a hash takes everything
	}
	if c.SASL.Mechanism != "" {
		password, err := keyfile.Secret(c.SASL.PasswordFile)
		if err == nil {
			_, err = c.SASL.with(password)
		}
		if err != nil {
			problems.Add("sasl.password_file", "%v", err)
		}
		id.password = password
		_, _ = fmt.Fprint(digest, password)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	digest.Sum(id.digest[:0])
	return id, nil
}

func (t TLS) files() keyfile.TLS {
	if !t.Enabled {
		return keyfile.TLS{}
	}
	return keyfile.TLS{CA: t.CAFile, Cert: t.CertFile, Key: t.KeyFile}
}

// files returns all files that connections are made with.
func (c Config) files() keyfile.Files {
	files := keyfile.Files{}
	for key, name := range c.TLS.files().Files() {
		files["kafka.tls."+key] = name
	}
	if c.SASL.Mechanism != "" {
		files["kafka.sasl.password_file"] = c.SASL.PasswordFile
	}
	return files
}

// Files returns the settings of the files that connections are made with.
func (c Config) Files() []string { return slices.Sorted(maps.Keys(c.files())) }

// CheckFiles returns everything that is wrong with the files that the settings name. It
// expects valid settings.
func (c Config) CheckFiles() []setting.Error {
	_, problems := c.identity(time.Now())
	return problems
}

// Weaknesses returns what works, but is less secret than it should be.
func (c Config) Weaknesses() []setting.Error {
	var found setting.Errors
	for _, f := range []struct{ key, file string }{{"tls.key_file", c.TLS.KeyFile}, {"sasl.password_file", c.SASL.PasswordFile}} {
		if keyfile.WorldReadable(f.file) {
			found.Add(f.key, "%s", keyfile.Readable(f.file))
		}
	}
	return found
}
