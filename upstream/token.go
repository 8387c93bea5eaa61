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

	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/metrics"
)

const (
	// tokenBackdate tolerates an API whose clock is behind ours.
	tokenBackdate = 30 * time.Second
	// maxTokenLife is the most that the API accepts from iat to exp in a token with jti.
	maxTokenLife = time.Hour
	// minTokenLeft is the remaining life at which a token is renewed at the latest, so
	// that a slow request still arrives within it.
	minTokenLeft = 30 * time.Second
)

// errNoToken reports an account without usable credentials.
var errNoToken = errors.New("no token can be signed: see the log for the credential files")

// tokenSource signs the tokens of one account, or of one of its apps, and reuses each until it is due for
// renewal. Safe for concurrent use.
type tokenSource struct {
	account string
	where   string // the credentials in the settings
	cfg     Credentials
	log     *slog.Logger
	series  *metrics.Upstream
	issued  prometheus.Counter

	refused keyfile.Refused

	mu      sync.Mutex // guards what follows
	key     *key       // nil until the files could be read
	cached  Secret     // zero if a new token has to be signed
	renewAt time.Time
}

// token returns the token for one request that starts now.
func (s *tokenSource) token(now time.Time) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		return "", errNoToken
	}
	if static := s.key.static.reveal(); static != "" {
		return static, nil
	}
	if t := s.cached.reveal(); t != "" && now.Before(s.renewAt) {
		return t, nil
	}
	token, life, err := s.signLocked(now)
	if err != nil {
		return "", err
	}
	s.issued.Inc()
	if !s.cfg.JTI {
		s.cached = newSecret(token)
		s.renewAt = now.Add(life - max(life/5, minTokenLeft))
	}
	return token, nil
}

// signLocked returns a new token and how long it is valid from now.
func (s *tokenSource) signLocked(now time.Time) (token string, life time.Duration, err error) {
	issued := now.Add(-tokenBackdate)
	expires := now.Add(s.cfg.TTL)
	if last := issued.Add(maxTokenLife); expires.After(last) {
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
	var signer any = []byte(s.key.secret.reveal())
	if s.key.private != nil {
		signer = s.key.private
	}
	token, err = jwt.NewWithClaims(jwt.GetSigningMethod(s.cfg.Algorithm), claims).SignedString(signer)
	return token, expires.Sub(now), err
}

// invalidate drops the cached token if it is the one that the API refused. The
// late refusal of an older token leaves a newer one in use.
func (s *tokenSource) invalidate(refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cached.reveal() == refused {
		s.cached = Secret{}
	}
}

// reload reads the credential files again. If they are unusable the previous key
// stays in use, and the error is logged once. It reports whether another key has taken the place of one.
func (s *tokenSource) reload(now time.Time) (renewed bool) {
	key, problems := readKey(s.cfg, now)
	news := s.refused.Note(now, s.where, problems)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err := joined(problems); {
	case err != nil:
		for _, p := range problems {
			s.series.FilesRefused.WithLabelValues(s.where + "." + p.Key).Inc()
		}
		if news {
			s.log.Error("credentials cannot be used, previous ones stay in use", "account", s.account, "err", err)
		}
		return false
	case news:
		s.log.Info("credentials can be used again", "account", s.account)
	}
	previous := s.key
	if previous != nil && previous.fingerprint == key.fingerprint {
		return false
	}
	s.key, s.cached = key, Secret{}
	s.series.CredentialsLoaded.WithLabelValues(s.account).Set(float64(now.Unix()))
	file := s.where + ".static_token_file"
	if end, ok := expiry(key.static.reveal()); ok {
		s.series.CredentialsExpiry.WithLabelValues(s.account, file).Set(float64(end.Unix()))
	} else {
		s.series.CredentialsExpiry.DeleteLabelValues(s.account, file)
	}
	if previous != nil {
		s.log.Info("credentials changed, new tokens are signed with them", "account", s.account)
		s.cfg.logWeakness(s.log, s.account)
	}
	return previous != nil
}

// files returns what is known of the credential files.
func (s *tokenSource) files() []keyfile.Report {
	ends := map[string]time.Time{}
	s.mu.Lock()
	if s.key != nil {
		if end, ok := expiry(s.key.static.reveal()); ok {
			ends["static_token_file"] = end
		}
	}
	s.mu.Unlock()
	return s.refused.Reports(s.where, ends)
}

// secrets returns what must not be quoted from an answer to a request with token.
func (s *tokenSource) secrets(token string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		return []string{token}
	}
	return []string{token, s.key.secret.reveal(), s.key.static.reveal()}
}
