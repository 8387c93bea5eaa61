package upstream

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/contactsync/contactsync"
)

// signedBy is the app id in a request's token.
func signedBy(t *testing.T, r *http.Request) string {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(r.Header.Get("auth"), claims); err != nil {
		t.Error(err)
	}
	id, _ := claims["appId"].(string)
	return id
}

// Two apps of one account sign each for its own streams, and share the budget. What one
// of them is refused says nothing of the others' tokens.
func TestSend_AppsSignForTheirStreams(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	var signed []string
	b := batchOf("a")
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		signed = append(signed, signedBy(t, r))
		w.WriteHeader(status)
		if status == http.StatusOK {
			_, _ = w.Write(goodAnswer(b))
		}
	})
	c := newTestClient(t, host, func(cfg *Config, _ *Deps) {
		own := cfg.Accounts[0].Credentials.ClientSecretFile
		other := filepath.Join(t.TempDir(), "other")
		writeFile(t, other, "another-secret-0123456789")
		cfg.Accounts[0].Apps = []App{
			{Name: "sales", Streams: []string{"st-sales*"}, Credentials: Credentials{ClientID: "cs-sales", ClientSecretFile: other}},
			{Name: "one", Streams: []string{"st-sales-1"}, Credentials: Credentials{ClientID: "cs-one", ClientSecretFile: own}},
		}
	})
	for stream, want := range map[string]string{"st-1": "", "st-sales": "sales", "st-sales-2": "sales", "st-sales-1": "one"} {
		if got := c.Credential(testAccount, stream); got != want {
			t.Errorf("stream %s: app %q, want %q", stream, got, want)
		}
	}
	streams := []string{"st-1", "st-sales-2", "st-sales-1"}
	send := func() {
		for _, b.Stream = range streams {
			c.Send(t.Context(), b)
		}
	}
	send()
	if want := []string{"cs-client", "cs-sales", "cs-one"}; !slices.Equal(signed, want) {
		t.Errorf("signed by %v, want %v", signed, want)
	}
	one, ok := c.Gate(testAccount)
	if !ok {
		t.Fatal("the account has no gate")
	}
	if again, _ := c.Gate(testAccount); again != one {
		t.Error("the apps of an account have budgets of their own")
	}

	cached := func() (tokens []string) {
		for _, app := range []string{"", "sales", "one"} {
			token, err := c.accounts[testAccount].tokens[app].token(time.Now().Add(-time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, token)
		}
		return tokens
	}
	before := cached()
	status = http.StatusUnauthorized
	streams = []string{"st-sales-2"}
	send()
	after := cached()
	if before[0] != after[0] || before[1] == after[1] || before[2] != after[2] {
		t.Errorf("a refused token of one app: the tokens of which are new: %v", [3]bool{before[0] != after[0], before[1] != after[1], before[2] != after[2]})
	}
}

// A stream that no app takes is not sent with another one's token.
func TestSend_AStreamWithoutCredentialsIsNotSent(t *testing.T) {
	t.Parallel()
	calls := 0
	host := serve(t, func(http.ResponseWriter, *http.Request) { calls++ })
	c := newTestClient(t, host, func(cfg *Config, _ *Deps) {
		a := &cfg.Accounts[0]
		a.Apps = []App{{Name: "one", Streams: []string{"st-1"}, Credentials: a.Credentials}}
		a.Streams, a.Credentials = nil, Credentials{}
	})
	b := batchOf("a")
	if r := c.Send(t.Context(), b); r.Kind == contactsync.Answered || calls != 0 || !strings.Contains(r.Detail, "no credentials of the account are for the stream") {
		t.Errorf("%+v after %d calls", r, calls)
	}
	if _, ok := c.Route("st-1", ""); !ok {
		t.Error("the account does not take its app's stream")
	}
	if _, ok := c.Route("st-2", ""); ok {
		t.Error("the account takes a stream for which it has no credentials")
	}
}

func TestConfig_CheckFilesOfApps(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.Accounts = []Account{{Apps: []App{{Credentials: Credentials{StaticTokenFile: "no-such-file"}}}}}
	if found := cfg.CheckFiles(); len(found) != 1 || found[0].Key != "accounts[0].apps[0].credentials.static_token_file" {
		t.Errorf("found %+v, want the file of the app", found)
	}
}

func TestConfig_ValidateApps(t *testing.T) {
	t.Parallel()
	good := Credentials{ClientID: "id", ClientSecretFile: "file"}
	app := func(name string, streams ...string) App { return App{name, streams, good} }
	for _, tt := range []struct {
		name    string
		account Account
		want    []string // keys
	}{
		{"beside the account's own", Account{Credentials: good, Apps: []App{app("a", "st-*"), app("b", "st-1")}}, nil},
		{"alone", Account{Apps: []App{app("a", "st-*"), app("b", "*")}}, nil},
		{"a name of none", Account{Credentials: good, Apps: []App{app("", "st-*")}}, []string{"apps[0].name"}},
		{"one name twice", Account{Credentials: good, Apps: []App{app("a", "st-1"), app("a", "st-2")}}, []string{"apps[1].name"}},
		{"no streams", Account{Credentials: good, Apps: []App{app("a")}}, []string{"apps[0].streams"}},
		{"no pattern", Account{Credentials: good, Apps: []App{app("a", "[a")}}, []string{"apps[0].streams[0]"}},
		{"nobody wins", Account{Credentials: good, Apps: []App{app("a", "st-*"), app("b", "x", "*-eu")}}, []string{"apps[0].streams[0]", "apps[1].streams[1]"}},
		{"one pattern twice", Account{Credentials: good, Apps: []App{app("a", "st-*"), app("b", "st-*")}}, []string{"apps[1].streams[0]"}},
		{"a stream of another account", Account{Credentials: good, Streams: []string{"st-*"}, Apps: []App{app("a", "us-*")}}, []string{"apps[0].streams[0]"}},
		{"streams without credentials", Account{Streams: []string{"st-*", "us-?"}, Apps: []App{app("a", "st-*"), app("b", "us-1")}}, []string{"credentials"}},
		{"wrong credentials", Account{Credentials: good, Apps: []App{{"a", []string{"*"}, Credentials{ClientSecretFile: "file"}}}}, []string{"apps[0].credentials.client_id"}},
	} {
		cfg := DefaultConfig()
		tt.account.ID, tt.account.Host = "acme", "https://api.test"
		cfg.Accounts = []Account{tt.account}
		cfg.SetDefaults()
		var keys []string
		for _, problem := range cfg.Validate() {
			keys = append(keys, strings.TrimPrefix(problem.Key, "accounts[0]."))
		}
		if !slices.Equal(keys, tt.want) {
			t.Errorf("%s: errors of %v, want %v: %+v", tt.name, keys, tt.want, cfg.Validate())
		}
	}
}
