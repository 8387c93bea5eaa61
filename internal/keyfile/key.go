package keyfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// maxKeyBytes is more than an RSA key of 16,384 bits has. Checking one that fills a file takes
// hours, and all that the caller does waits for it.
const maxKeyBytes = 16 << 10

// RSAKey returns the private RSA key in a PEM file, in the form of PKCS#1 or PKCS#8.
func RSAKey(name string) (*rsa.PrivateKey, error) {
	key, err := PrivateKey(name)
	if err != nil {
		return nil, err
	}
	own, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds %s: a private RSA key is needed", name, keyKind(key))
	}
	return own, nil
}

// PrivateKey returns the private key in a PEM file.
func PrivateKey(name string) (crypto.Signer, error) {
	content, err := Read(name)
	if err != nil {
		return nil, err
	}
	found := "" // instead of a key
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		var key any
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY") && len(block.Bytes) > maxKeyBytes:
			return nil, fmt.Errorf("%s holds a key of %d bytes, larger than any in use: at most %d", name, len(block.Bytes), maxKeyBytes)
		case strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"), block.Type == "ENCRYPTED PRIVATE KEY":
			return nil, fmt.Errorf("%s is encrypted, and there is nowhere to give its password: decrypt it with openssl pkey", name)
		case block.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		default:
			if found == "" {
				found = kindOf(block.Type)
			}
			continue
		}
		signer, ok := key.(crypto.Signer)
		if err != nil || !ok {
			return nil, fmt.Errorf("%s holds a private key that cannot be read: it is damaged, or of a kind that is not supported", name)
		}
		return signer, nil
	}
	if found == "" {
		found = notPEM(content)
	}
	return nil, fmt.Errorf("%s holds %s: a private key in PEM form is needed", name, found)
}

// keyKind is what an error calls a key.
func keyKind(key crypto.Signer) string {
	switch key.(type) {
	case *rsa.PrivateKey:
		return "an RSA key"
	case *ecdsa.PrivateKey:
		return "an EC key"
	case ed25519.PrivateKey:
		return "an Ed25519 key"
	}
	return "another kind of key"
}

// pemKind is what an error calls the first PEM block of a text.
func pemKind(text string) string {
	_, rest, _ := strings.Cut(text, "-----BEGIN ")
	label, _, _ := strings.Cut(rest, "-----")
	return kindOf(label)
}

// kindOf is what an error calls a PEM block. The label itself is not repeated, as whatever
// else stands in the file.
func kindOf(label string) string {
	switch {
	case label == "CERTIFICATE" || label == "TRUSTED CERTIFICATE" || label == "X509 CERTIFICATE":
		return "a certificate"
	case strings.HasSuffix(label, "CERTIFICATE REQUEST"):
		return "a certificate request"
	case label == "RSA PUBLIC KEY", label == "PUBLIC KEY":
		return "a public key"
	case label == "OPENSSH PRIVATE KEY":
		return "a key in OpenSSH's form (ssh-keygen -p -m PEM converts it)"
	case label == "DSA PRIVATE KEY":
		return "a DSA key"
	case strings.HasSuffix(label, "PRIVATE KEY"):
		return "a private key"
	}
	return "a PEM block of another kind"
}

// notPEM is what an error calls a file without a PEM block.
func notPEM(content []byte) string {
	start := bytes.TrimSpace(content)
	switch {
	case len(start) == 0:
		return "nothing"
	case bytes.HasPrefix(start, []byte("\ufeff")), bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")):
		return "text behind a byte order mark (save it as UTF-8 without one)"
	case bytes.HasPrefix(start, []byte("ssh-")), bytes.HasPrefix(start, []byte("ecdsa-")):
		return "a public key of SSH"
	case start[0] == '{':
		return "JSON, perhaps a JWK (convert it to PEM)"
	case start[0] == 0x30 && len(start) > 1 && start[1] >= 0x80:
		return "DER (openssl pkey -inform DER converts it)"
	case bytes.Contains(start, []byte("-----BEGIN ")):
		return "a damaged PEM block (each line of it has to stand on a line of its own, and none be indented)"
	}
	return "no PEM block"
}
