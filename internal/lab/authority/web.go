package authority

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// The user that WebConfig's server knows.
const (
	WebUser     = "operator"
	WebPassword = "open sesame"
	webHash     = "$2a$04$KHrqx6AzQxEZwzgUXi6YN.xXIRtypUpK6lCS.ioMfQPNV7E4Xn/Oq" // bcrypt, at its least cost
)

// WebConfig writes into dir what an admin port on loopback needs for TLS and one user, and
// what its client needs. It returns the file for each.
func (a *Authority) WebConfig(dir string) (server, client string, err error) {
	cert, err := a.Issue(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		return "", "", err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return "", "", fmt.Errorf("write a key: %w", err)
	}
	for name, text := range map[string][]byte{
		"cert.pem":    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		"key.pem":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"ca.pem":      a.PEM,
		"password":    []byte(WebPassword),
		"web.yaml":    []byte("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {" + WebUser + ": \"" + webHash + "\"}\n"),
		"client.yaml": []byte("tls_config: {ca_file: ca.pem}\nbasic_auth: {username: " + WebUser + ", password_file: password}\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", "", fmt.Errorf("write a web configuration: %w", err)
		}
	}
	return filepath.Join(dir, "web.yaml"), filepath.Join(dir, "client.yaml"), nil
}
