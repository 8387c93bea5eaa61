package vendorapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAuth(t *testing.T) {
	t.Parallel()
	claims := `{"sub":"1234567890","appId":"client"}`
	timed := func(text string, at time.Duration) string { return fmt.Sprintf(text, time.Now().Add(at).Unix()) }
	for name, tc := range map[string]struct {
		token  string
		header string // accountId, if not "account"
		cfg    Config
		status int
		msg    string
		code   int
		fault  Fault
	}{
		"as documented":    {token: token("secret", hs256, claims), status: 200},
		"with times":       {token: token("secret", hs256, timed(`{"appId":"client","exp":%d,"iat":1,"nbf":1}`, time.Minute)), status: 200},
		"none":             {status: 401, msg: badCredentials, code: 4002, fault: BadAuth},
		"garbage":          {token: "garbage", status: 401, msg: badToken, code: 4002, fault: BadAuth},
		"bearer":           {token: "bearer " + token("secret", hs256, claims), status: 401, msg: badToken, code: 4002, fault: BadAuth},
		"another secret":   {token: token("guess", hs256, claims), status: 401, msg: badCredentials, code: 4002, fault: BadAuth},
		"another alg":      {token: token("secret", `{"alg":"HS512"}`, claims), status: 401, msg: badToken, code: 4002, fault: BadAuth},
		"no alg":           {token: strings.Join([]string{"eyJhbGciOiJub25lIn0", "eyJhcHBJZCI6ImNsaWVudCJ9", ""}, "."), status: 401, msg: badToken, code: 4002, fault: BadAuth},
		"spelled appid":    {token: token("secret", hs256, `{"appid":"client"}`), status: 401, msg: badCredentials, code: 4002, fault: BadAuth},
		"another account":  {token: token("secret", hs256, claims), header: "other", status: 401, msg: badCredentials, code: 4002, fault: BadAuth},
		"expired":          {token: token("secret", hs256, timed(`{"appId":"client","exp":%d}`, -time.Second)), status: 401, msg: "error verifying the jwt: jwt expired", code: 401, fault: BadAuth},
		"from the future":  {token: token("secret", hs256, timed(`{"appId":"client","iat":%d}`, 2*time.Minute)), status: 401, msg: "error verifying the jwt: jwt not active", code: 401, fault: BadAuth},
		"skew":             {token: token("secret", hs256, timed(`{"appId":"client","iat":%d}`, time.Minute)), cfg: Config{Unknowns: Unknowns{Skew: 2 * time.Minute}}, status: 200},
		"its clock behind": {token: token("secret", hs256, timed(`{"appId":"client","iat":%d}`, -10*time.Second)), cfg: Config{Unknowns: Unknowns{Ahead: -20 * time.Second}}, status: 401, msg: "error verifying the jwt: jwt not active", code: 401, fault: BadAuth},
		"its clock ahead":  {token: token("secret", hs256, timed(`{"appId":"client","exp":%d}`, 10*time.Second)), cfg: Config{Unknowns: Unknowns{Ahead: 20 * time.Second}}, status: 401, msg: "error verifying the jwt: jwt expired", code: 401, fault: BadAuth},
		"fraction":         {token: token("secret", hs256, `{"appId":"client","exp":9999999999.5}`), status: 401, msg: "error verifying the jwt: exp should be a number of seconds", code: 401, fault: BadAuth},
		"no end":           {token: token("secret", hs256, claims), cfg: Config{Unknowns: Unknowns{MaxTokenLife: time.Hour}}, status: 401, msg: "error verifying the jwt: exp is too far away", code: 401, fault: BadAuth},
		"no jti":           {token: token("secret", hs256, claims), cfg: Config{Unknowns: Unknowns{EnforceJTI: true}}, status: 401, msg: `error verifying the jwt: "jti" claim is required`, code: 401, fault: BadAuth},
		"long jti": {
			token: token("secret", hs256, timed(`{"appId":"client","jti":"x","exp":%d}`, 2*time.Hour)), status: 401,
			msg: `error verifying the jwt: if "jti" claim "exp" must be <= 1 hour(s)`, code: 401, fault: BadAuth,
		},
		"no scope": {
			token: token("secret", hs256, claims), cfg: Config{Accounts: []Account{{ID: "account", Apps: []App{{ClientID: "client", Secret: "secret", NoScope: true}}}}},
			status: 401, msg: badScope, code: 4002,
		},
		"app of another stream": {
			token: token("secret", hs256, claims), cfg: Config{Accounts: []Account{{ID: "account", Apps: []App{{ClientID: "client", Secret: "secret", Streams: []string{"st-x"}}}}}},
			status: 401, msg: badCredentials, code: 4002, fault: Crosstalk,
		},
		"stream of another account": {
			token: token("secret", hs256, claims), cfg: Config{Accounts: []Account{{ID: "account", Streams: []string{"st-x"}, Apps: []App{{ClientID: "client", Secret: "secret"}}}}},
			status: 400, msg: "Invalid StreamId", code: 400, fault: Crosstalk,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, tc.cfg)
			r := c.request("[" + one(john, "john", "1") + "]")
			r.Header.Set("auth", tc.token)
			if tc.header != "" {
				r.Header.Set("accountId", tc.header)
			}
			got := c.do(r)
			if got.status != tc.status {
				t.Fatalf("%d %s, want %d", got.status, got.text, tc.status)
			}
			if tc.status != http.StatusOK && (len(got.body.Errors) != 1 || got.body.Errors[0].Msg != tc.msg || got.body.Errors[0].Code != tc.code) {
				t.Errorf("%s, want %s %d", got.text, tc.msg, tc.code)
			}
			if tc.fault != "" {
				c.wantComplaints(tc.fault)
			} else {
				c.wantComplaints()
			}
		})
	}
}

func TestAuth_JTIIsUsedOnce(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	var last answered
	for range 2 {
		r := c.request("[" + one(john, "john", "1") + "]")
		r.Header.Set("auth", token("secret", hs256, fmt.Sprintf(`{"appId":"client","jti":"x","exp":%d}`, time.Now().Add(time.Minute).Unix())))
		last = c.do(r)
	}
	if last.status != 401 || !strings.HasSuffix(last.body.Errors[0].Msg, "possibly a replay") {
		t.Errorf("%d %s", last.status, last.text)
	}
}
