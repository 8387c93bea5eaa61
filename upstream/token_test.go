package upstream

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/metrics"
)

// newTestTokens returns a source over credentials whose secret file exists.
func newTestTokens(t *testing.T, adjust func(*Credentials)) (*tokenSource, *logbuffer.Buffer) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	writeFile(t, file, testSecret+"\n")
	c := Credentials{ClientID: "cs-client", ClientSecretFile: file}
	if adjust != nil {
		adjust(&c)
	}
	if c.StaticTokenFile == "" {
		c.setDefaults()
	}
	var problems setting.Errors
	if c.validate("", &problems); problems != nil {
		t.Fatal(problems)
	}
	log := &logbuffer.Buffer{}
	s := &tokenSource{
		account: testAccount, where: "upstream.accounts[0].credentials", cfg: c, series: &metrics.New(prometheus.NewRegistry()).Upstream, log: slog.New(slog.NewTextHandler(log, nil)),
		issued: prometheus.NewCounter(prometheus.CounterOpts{Name: "issued"}),
	}
	s.reload(time.Now())
	return s, log
}

func mustToken(t *testing.T, s *tokenSource, now time.Time) string {
	t.Helper()
	token, err := s.token(now)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claims verifies a token and returns what it claims.
func claims(t *testing.T, token string, key any, now time.Time) jwt.MapClaims {
	t.Helper()
	got := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, got, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithIssuedAt(), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func signedWith(token, key string) bool {
	_, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return []byte(key), nil }, jwt.WithoutClaimsValidation())
	return err == nil
}

func TestToken_Claims(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_767_951_304, 0)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pemFile := filepath.Join(t.TempDir(), "key.pem")
	writeFile(t, pemFile, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})))
	for _, alg := range []string{"HS256", "HS384", "HS512", "RS256", "RS512"} {
		s, _ := newTestTokens(t, func(c *Credentials) {
			c.Algorithm, c.Subject, c.Issuer, c.Audience = alg, "sub", "iss", "aud"
			c.Claims = map[string]any{"extra": "x"}
			if strings.HasPrefix(alg, "RS") {
				c.PrivateKeyFile, c.ClientSecretFile = pemFile, ""
			}
		})
		token := mustToken(t, s, now)
		var key any = []byte(testSecret)
		if strings.HasPrefix(alg, "RS") {
			key = &private.PublicKey
		}
		got := claims(t, token, key, now)
		want := map[string]any{
			"appId": "cs-client", "sub": "sub", "iss": "iss", "aud": "aud", "extra": "x",
			"iat": float64(now.Unix() - 30), "exp": float64(now.Unix() + 300),
		}
		if fmt.Sprint(map[string]any(got)) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", alg, got, want)
		}
		parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
		if err != nil || parsed.Header["alg"] != alg {
			t.Errorf("got header %v, %v", parsed.Header, err)
		}
	}
}

func TestToken_IsKeptAndRenewedAhead(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tt := range []struct{ ttl, renew time.Duration }{
		{5 * time.Minute, 4 * time.Minute},     // a fifth is left
		{time.Minute, 30 * time.Second},        // half a minute is left
		{time.Hour, (3600 - 30) * 4 / 5 * 1e9}, // never more than an hour after iat
	} {
		s, _ := newTestTokens(t, func(c *Credentials) { c.TTL = tt.ttl })
		first := mustToken(t, s, now)
		if mustToken(t, s, now.Add(tt.renew-time.Second)) != first {
			t.Errorf("ttl %v: renewed too early", tt.ttl)
		}
		if mustToken(t, s, now.Add(tt.renew)) == first {
			t.Errorf("ttl %v: not renewed after %v", tt.ttl, tt.renew)
		}
	}
}

func TestToken_JTIIsNeverUsedTwice(t *testing.T) {
	t.Parallel()
	s, _ := newTestTokens(t, func(c *Credentials) { c.JTI, c.TTL = true, time.Hour })
	now := time.Now()
	seen := map[any]bool{}
	for range 100 {
		got := claims(t, mustToken(t, s, now), []byte(testSecret), now)
		if id := got["jti"]; id == "" || seen[id] {
			t.Fatalf("jti %v comes twice", id)
		} else {
			seen[id] = true
		}
		if life := got["exp"].(float64) - got["iat"].(float64); life > 3600 {
			t.Fatalf("token lives %vs", life)
		}
	}
}

func TestToken_Invalidate(t *testing.T) {
	t.Parallel()
	s, _ := newTestTokens(t, nil)
	now := time.Now()
	first := mustToken(t, s, now)
	s.invalidate(first)
	second := mustToken(t, s, now.Add(time.Second))
	if first == second {
		t.Fatal("the refused token is used again")
	}
	s.invalidate(first) // a late answer to the first
	if mustToken(t, s, now.Add(2*time.Second)) != second {
		t.Error("a good token was thrown away")
	}
}

func TestToken_Static(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, "opaque-token-made-elsewhere\r\n")
	s, _ := newTestTokens(t, func(c *Credentials) { *c = Credentials{StaticTokenFile: file} })
	if got := mustToken(t, s, time.Now()); got != "opaque-token-made-elsewhere" {
		t.Errorf("got %q", got)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	s, log := newTestTokens(t, nil)
	now := time.Now()
	before := mustToken(t, s, now)
	for _, bad := range []string{"", "short", strings.Repeat("x", keyfile.MaxBytes+1)} {
		writeFile(t, s.cfg.ClientSecretFile, bad)
		s.reload(time.Now())
		s.reload(time.Now())
		if mustToken(t, s, now) != before {
			t.Fatal("a bad file replaced a good key")
		}
	}
	if err := os.Remove(s.cfg.ClientSecretFile); err != nil {
		t.Fatal(err)
	}
	s.reload(time.Now())
	if n := strings.Count(log.String(), "level=ERROR"); n != 4 {
		t.Errorf("%d errors for four problems: %s", n, log)
	}
	writeFile(t, s.cfg.ClientSecretFile, "another-canary-secret-0123456789")
	s.reload(time.Now())
	claims(t, mustToken(t, s, now), []byte("another-canary-secret-0123456789"), now)
	if n := testutil.ToFloat64(s.series.FilesRefused.WithLabelValues("upstream.accounts[0].credentials.client_secret_file")); n != 7 {
		t.Errorf("%v readings were counted as unusable, want 7", n)
	}
	if !strings.Contains(log.String(), "credentials changed") || strings.Contains(log.String(), "canary") {
		t.Errorf("logged %s", log)
	}
}

// Reading the same files again must not cost a signature.
func TestReload_UnchangedFilesKeepTheToken(t *testing.T) {
	t.Parallel()
	s, log := newTestTokens(t, nil)
	now := time.Now()
	for range 3 {
		mustToken(t, s, now)
		s.reload(time.Now())
	}
	if n := testutil.ToFloat64(s.issued); n != 1 || log.String() != "" {
		t.Errorf("%v tokens issued; logged %q", n, log)
	}
}
