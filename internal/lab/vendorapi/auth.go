package vendorapi

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The texts that were observed. The code in a body is not the HTTP status.
const (
	badToken       = "Invalid JWT token"
	badCredentials = "Invalid SDK credentials"
	badScope       = "Permission denied. Scope is incorrect!"
	authCode       = 4002
)

// authorize finds the account that a request acts for, or says why there is none.
func (a *API) authorize(r *http.Request, c *Call) (*Account, *reply) {
	stream, now := c.Stream, c.At.Add(a.cfg.Ahead)
	token := r.Header.Get("auth")
	if token == "" {
		a.fault(c, BadAuth, "no header auth")
		return nil, errorsReply(http.StatusUnauthorized, badCredentials, authCode)
	}
	parts := strings.Split(token, ".")
	var header struct{ Alg, Typ string }
	var claims map[string]any
	if len(parts) != 3 || !decodeSegment(parts[0], &header) || !decodeSegment(parts[1], &claims) || header.Alg != "HS256" {
		a.fault(c, BadAuth, "a token that is no JWT, or not HS256")
		return nil, errorsReply(http.StatusUnauthorized, badToken, authCode)
	}
	id, _ := claims["appId"].(string) // exactly so spelled
	account, app := a.app(id, r.Header.Get("accountId"), stream)
	if app == nil || !signed(parts, app.Secret) {
		a.fault(c, BadAuth, "appId, secret and accountId do not belong together")
		return nil, errorsReply(http.StatusUnauthorized, badCredentials, authCode)
	}
	if refused := a.checkTimes(claims, now); refused != "" {
		a.fault(c, BadAuth, "%s", refused)
		return nil, errorsReply(http.StatusUnauthorized, refused, http.StatusUnauthorized)
	}
	switch {
	case app.NoScope && a.cfg.ScopeMessage:
		return nil, jsonReply(http.StatusUnauthorized, map[string]any{"errors": []any{map[string]any{"message": badScope, "code": authCode}}})
	case app.NoScope:
		return nil, errorsReply(http.StatusUnauthorized, badScope, authCode)
	case len(app.Streams) > 0 && !slices.Contains(app.Streams, stream):
		a.fault(c, Crosstalk, "stream %s with an app of other streams", stream)
		return nil, errorsReply(http.StatusUnauthorized, badCredentials, authCode)
	case len(account.Streams) > 0 && !slices.Contains(account.Streams, stream), !streamName(stream):
		a.fault(c, Crosstalk, "stream %s is not one of account %s", stream, account.ID)
		status := cmp.Or(a.cfg.WrongStream, http.StatusBadRequest)
		return nil, errorsReply(status, "Invalid StreamId", status)
	}
	return account, nil
}

// app finds the app of a client id. Where several accounts know the same one, as in
// tests with one credential for all, the one named in the header is meant.
func (a *API) app(clientID, accountID, stream string) (*Account, *App) {
	for i := range a.cfg.Accounts {
		account := &a.cfg.Accounts[i]
		if account.ID != accountID {
			continue
		}
		var found *App
		for j := range account.Apps {
			if app := &account.Apps[j]; app.ClientID == clientID && (found == nil || slices.Contains(app.Streams, stream)) {
				found = app
			}
		}
		return account, found
	}
	return nil, nil
}

func decodeSegment(segment string, into any) bool {
	text, err := base64.RawURLEncoding.DecodeString(segment)
	return err == nil && json.Unmarshal(text, into) == nil
}

func signed(parts []string, secret string) bool {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	given, err := base64.RawURLEncoding.DecodeString(parts[2])
	return err == nil && hmac.Equal(given, mac.Sum(nil))
}

// checkTimes checks exp, nbf, iat and jti, and returns why the token is refused.
func (a *API) checkTimes(claims map[string]any, now time.Time) string {
	at := make(map[string]time.Time)
	for _, name := range []string{"exp", "nbf", "iat"} {
		value, there := claims[name]
		if !there {
			continue
		}
		seconds, isNumber := value.(float64)
		if !isNumber || seconds != math.Trunc(seconds) || seconds < 0 || seconds > math.MaxInt32*2 {
			return "error verifying the jwt: " + name + " should be a number of seconds"
		}
		at[name] = time.Unix(int64(seconds), 0)
	}
	exp, hasExp := at["exp"]
	switch {
	case hasExp && !now.Before(exp.Add(a.cfg.Skew)):
		return "error verifying the jwt: jwt expired"
	case now.Add(a.cfg.Skew).Before(at["nbf"]), now.Add(a.cfg.Skew).Before(at["iat"]):
		return "error verifying the jwt: jwt not active"
	case a.cfg.MaxTokenLife > 0 && (!hasExp || exp.Sub(now) > a.cfg.MaxTokenLife+a.cfg.Skew):
		return "error verifying the jwt: exp is too far away"
	}
	jti, _ := claims["jti"].(string)
	switch {
	case jti == "" && a.cfg.EnforceJTI:
		return `error verifying the jwt: "jti" claim is required`
	case jti == "":
		return ""
	case !hasExp || exp.Sub(now) > time.Hour:
		return `error verifying the jwt: if "jti" claim "exp" must be <= 1 hour(s)`
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens[jti] {
		return `error verifying the jwt: "jti" was used before, possibly a replay`
	}
	a.tokens[jti] = true
	return ""
}

func streamName(name string) bool { return strings.HasPrefix(name, "st-") && len(name) > len("st-") }
