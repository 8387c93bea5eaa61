package upstream

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// backdated allows for the API's clock being behind ours.
	backdated = 30 * time.Second
	// longestLife is what the API accepts between iat and exp of a token with jti.
	longestLife = time.Hour
	// leastLeft of a token's life lets a request that takes its time still arrive in it.
	leastLeft = 30 * time.Second
)

// errNoToken says that an account has no usable credentials.
var errNoToken = errors.New("no token can be signed: see the log for the credential files")

// tokenSource makes the tokens of one account. It keeps the last one while it
// may be used again. Safe for concurrent use.
type tokenSource struct {
	account string
	cfg     Credentials
	log     *slog.Logger
	issued  prometheus.Counter

	mu      sync.Mutex // guards what follows
	key     *key       // nil until files could be read
	token   Secret     // empty: mint
	renewAt time.Time
	fault   string // of the last reading, so that it is logged once
}

// Token returns the token for one request that starts now.
func (s *tokenSource) Token(now time.Time) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		return "", errNoToken
	}
	if static := s.key.static.reveal(); static != "" {
		return static, nil
	}
	if t := s.token.reveal(); t != "" && now.Before(s.renewAt) {
		return t, nil
	}
	token, life, err := s.mintLocked(now)
	if err != nil {
		return "", err
	}
	s.issued.Inc()
	if !s.cfg.JTI {
		s.token = newSecret(token)
		s.renewAt = now.Add(life - max(life/5, leastLeft))
	}
	return token, nil
}

// mintLocked signs a token and returns it with the time it is good for.
func (s *tokenSource) mintLocked(now time.Time) (string, time.Duration, error) {
	issued := now.Add(-backdated)
	expires := now.Add(s.cfg.TTL)
	if last := issued.Add(longestLife); expires.After(last) {
		expires = last
	}
	claims := jwt.MapClaims{}
	maps.Copy(claims, s.cfg.Claims)
	claims["appId"] = s.key.appID
	claims["sub"] = s.cfg.Subject
	claims["iat"] = issued.Unix()
	claims["exp"] = expires.Unix()
	if s.cfg.Issuer != "" {
		claims["iss"] = s.cfg.Issuer
	}
	if s.cfg.Audience != "" {
		claims["aud"] = s.cfg.Audience
	}
	if s.cfg.JTI {
		claims["jti"] = rand.Text()
	}
	var with any = []byte(s.key.secret.reveal())
	if s.key.private != nil {
		with = s.key.private
	}
	token, err := jwt.NewWithClaims(jwt.GetSigningMethod(s.cfg.Algorithm), claims).SignedString(with)
	return token, expires.Sub(now), err
}

// Invalidate forgets the token if it is the one that was refused, so that the
// next request mints anew. A request that was refused with an older token
// leaves the newer one alone.
func (s *tokenSource) Invalidate(refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.reveal() == refused {
		s.token = Secret{}
	}
}

// reload reads the files again. What cannot be used leaves the old key in
// place and is logged when it is first seen.
func (s *tokenSource) reload() {
	key, err := readKey(s.cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.fault != err.Error() {
			s.fault = err.Error()
			s.log.Error("credentials cannot be read, the former ones stay in use", "account", s.account, "err", err)
		}
		return
	}
	if s.fault != "" {
		s.fault = ""
		s.log.Info("credentials can be read again", "account", s.account)
	}
	former := s.key
	if former != nil && former.print == key.print {
		return
	}
	s.key, s.token = key, Secret{}
	if former != nil {
		s.log.Info("credentials have changed, further tokens are made with them", "account", s.account)
	}
}

// secrets returns what must not be quoted from an answer to token.
func (s *tokenSource) secrets(token string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		return []string{token}
	}
	return []string{token, s.key.secret.reveal(), s.key.static.reveal()}
}
