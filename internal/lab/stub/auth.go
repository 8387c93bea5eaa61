package stub

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// refusal is an answer that ends a call before the scenario's rules apply. The zero
// value is none.
type refusal struct {
	status int
	msg    string
	code   int // in the body; 0 = status
}

// The vendor answers an expired token, a wrong secret, a wrong stream and a missing
// scope with 401, and at best with different texts.
var (
	badToken       = refusal{http.StatusUnauthorized, "Invalid JWT token", 4002}
	badCredentials = refusal{http.StatusUnauthorized, "Invalid SDK credentials", 4002}
	replayed       = refusal{http.StatusUnauthorized, "error verifying the jwt: possibly a replay", 401}
	longLived      = refusal{http.StatusUnauthorized, `error verifying the jwt: if "jti" claim "exp" must be <= 1 hour(s)`, 401}
	noAccount      = refusal{http.StatusBadRequest, "Invalid accountId", 400}
)

type claims struct {
	AppID string `json:"appId"`
	jwt.RegisteredClaims
}

// gate checks tokens against the accounts.
type gate struct {
	parser     *jwt.Parser
	enforceJTI bool
	appID      string
	secret     string
	accounts   map[string]Account // empty: any account

	mu   sync.Mutex
	seen map[string]time.Time // jti -> when it may be forgotten
}

func newGate(cfg Config) *gate {
	g := &gate{
		parser:     jwt.NewParser(jwt.WithValidMethods(cfg.Algorithms)),
		enforceJTI: cfg.EnforceJTI, appID: cfg.AppID, secret: cfg.Secret,
		accounts: cfg.Accounts, seen: map[string]time.Time{},
	}
	return g
}

// check checks the headers of a call. cross is set where the stream belongs to
// another account than the call names (I12).
func (g *gate) check(h http.Header, account, stream string) (ref refusal, cross bool) {
	if account == "" {
		return noAccount, false
	}
	a, known := g.accounts[account]
	switch {
	case !known && len(g.accounts) > 0:
		return badCredentials, false
	case !known:
		a = Account{Secret: g.secret, AppID: g.appID}
	}
	if ref := g.token(h.Get("auth"), a); ref.status != 0 {
		return ref, false
	}
	if len(a.Streams) > 0 && !globsOf(a.Streams).match([]byte(stream)) {
		return badCredentials, true
	}
	return refusal{}, false
}

func (g *gate) token(text string, a Account) refusal {
	if text == "" {
		return badCredentials
	}
	var c claims
	_, err := g.parser.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return []byte(a.Secret), nil })
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return badCredentials
	case err != nil:
		return badToken
	case c.AppID != a.AppID:
		return badCredentials
	}
	if g.enforceJTI {
		return g.once(c)
	}
	return refusal{}
}

// once accepts each jti a single time.
func (g *gate) once(c claims) refusal {
	now := time.Now()
	if c.ID == "" || c.ExpiresAt == nil {
		return badToken
	}
	if c.ExpiresAt.Sub(now) > time.Hour {
		return longLived
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, used := g.seen[c.ID]; used {
		return replayed
	}
	if len(g.seen) > 100_000 {
		for id, end := range g.seen {
			if now.After(end) {
				delete(g.seen, id)
			}
		}
	}
	g.seen[c.ID] = c.ExpiresAt.Time
	return refusal{}
}

func (r refusal) body() []byte {
	code := r.code
	if code == 0 {
		code = r.status
	}
	return fmt.Appendf(nil, `{"errors":[{"msg":%q,"code":%d}]}`, r.msg, code)
}
