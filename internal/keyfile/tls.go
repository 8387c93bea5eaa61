package keyfile

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

// TLS names the files of one end of a TLS connection. Each may be empty, cert and key
// together.
type TLS struct{ CA, Cert, Key string }

// Certificates are what the files of a TLS hold.
type Certificates struct {
	Roots  *x509.CertPool // nil trusts those of the system
	Own    []tls.Certificate
	Digest [sha256.Size]byte // changes with the content of any file
	// Ends are when connections can no longer be made, by ca_file and cert_file: the last of the
	// roots has ended, or the own certificate.
	Ends map[string]time.Time
}

// Files returns those that there are.
func (t TLS) Files() Files { return FilesOf("ca_file", t.CA, "cert_file", t.Cert, "key_file", t.Key) }

// Read reads the files, and returns everything that is wrong with them by the keys
// ca_file, cert_file and key_file.
func (t TLS) Read(now time.Time) (Certificates, []setting.Error) {
	found := Certificates{Ends: map[string]time.Time{}}
	var problems setting.Errors
	digest := sha256.New()
	if t.CA != "" {
		all, pem, err := certificates(t.CA)
		if err == nil {
			err = someValid(t.CA, all, now)
		}
		if err != nil {
			problems.Add("ca_file", "%v", err)
		} else {
			found.Roots = x509.NewCertPool()
			for _, one := range all {
				found.Roots.AddCert(one)
				if one.NotAfter.After(found.Ends["ca_file"]) {
					found.Ends["ca_file"] = one.NotAfter
				}
			}
		}
		add(digest, pem)
	}
	if t.Cert != "" {
		own, cert, key, errs := t.own(now)
		problems = append(problems, errs...)
		found.Own = []tls.Certificate{own}
		if own.Leaf != nil {
			found.Ends["cert_file"] = own.Leaf.NotAfter
		}
		add(digest, cert)
		add(digest, key)
	}
	if len(problems) > 0 {
		return Certificates{}, problems
	}
	digest.Sum(found.Digest[:0])
	return found, nil
}

// own reads the certificate and its key.
func (t TLS) own(now time.Time) (own tls.Certificate, cert, key []byte, problems setting.Errors) {
	chain, cert, err := certificates(t.Cert)
	if err == nil {
		err = valid(t.Cert, chain[0], now)
	}
	if err != nil {
		problems.Add("cert_file", "%v", err)
	}
	if _, err := PrivateKey(t.Key); err != nil {
		problems.Add("key_file", "%v", err)
	}
	if len(problems) > 0 {
		return own, nil, nil, problems
	}
	if key, err = Read(t.Key); err == nil {
		if own, err = tls.X509KeyPair(cert, key); err != nil { // its text may quote what the files hold
			err = fmt.Errorf("%s is not the key of %s: give the two that were made together", t.Key, t.Cert)
		}
	}
	if err != nil {
		problems.Add("key_file", "%v", err)
	}
	return own, cert, key, problems
}

func add(digest interface{ Write([]byte) (int, error) }, content []byte) {
	_, _ = fmt.Fprintf(digest, "%d ", len(content)) // a hash takes everything
	_, _ = digest.Write(content)
}

// certificates returns those in a PEM file, in order, and its content.
func certificates(name string) (all []*x509.Certificate, content []byte, err error) {
	if content, err = Read(name); err != nil {
		return nil, nil, err
	}
	found := ""
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			if found == "" {
				found = kindOf(block.Type)
			}
			continue
		}
		if one, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, one)
		} else if found == "" { // a bundle is not given up for one of its certificates
			found = "a damaged certificate"
		}
	}
	if len(all) > 0 {
		return all, content, nil
	}
	if found == "" {
		found = notPEM(content)
		if bytes.HasPrefix(content, []byte{0x30}) {
			found = "DER (openssl x509 -inform DER converts it)"
		}
	}
	return nil, nil, fmt.Errorf("%s holds %s: a certificate in PEM form is needed", name, found)
}

// valid returns why a certificate does not count now.
func valid(name string, one *x509.Certificate, now time.Time) error {
	switch {
	case now.After(one.NotAfter):
		return fmt.Errorf("%s: the certificate expired at %s: put a new one in its place", name, one.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(one.NotBefore):
		return fmt.Errorf("%s: the certificate counts from %s on: wait, or look at this machine's clock", name, one.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// someValid returns why none of certificates counts now.
func someValid(name string, all []*x509.Certificate, now time.Time) error {
	var first error
	for _, one := range all {
		err := valid(name, one, now)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}
