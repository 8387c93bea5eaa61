package upstream

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/contactsync/contactsync"
)

func TestExcerpt(t *testing.T) {
	t.Parallel()
	rows := []contactsync.Row{{ID: "6964af60450340957c61a2b3", Body: []byte(
		`{"id":"6964af60450340957c61a2b3","firstName":"Zoë","lastName":"O'Brien","fullName":"Zoë O'Brien","salutation":"mr",
		"cellPhone":{"extension":"+","phoneNumber":"4711","countryCode":"+91"},"notes":["Straße \"7\""]}`)}}
	secrets := []string{"opaque-token-0123456789", "", "short"}
	for text, want := range map[string]string{
		"":                             "",
		"Invalid StreamId (code 4002)": "Invalid StreamId (code 4002)",
		"duplicate 2445612345":         "duplicate ***",
		"call +91 244-561-2345 or (244) 561 2345": "call *** *** or (***",
		"used by +49/170/1234-567, see 2/3":       "used by +***, see 2/3",
		"401 4002":                                "401 4002",
		"phone ٢٤٤٥٦١٢":                           "phone ***",
		"bad eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln!": "bad ***!",
		"bad eyJhb":                               "bad ***",
		"token opaque-token-0123456789.":          "token ***.",
		"token opaque-token… cut":                 "token ***… cut",
		"ZOË O'BRIEN exists, mr. mrs":             "*** exists, ***. mrs",
		"zoë's, zoëlogy":                          "***'s, zoëlogy",
		"4711 at STRAßE \"7\"":                    "*** at ***",
		"one\r\ntwo\x1b[0m\u202e\xff":             "one\\r\\ntwo\\x1b[0m\\u202e\uFFFD",
	} {
		if got := newRedactor().excerpt(text, secrets, rows); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// Why one row failed may name another contact of the same request.
func TestAnswers_ReasonsNameNoOtherRow(t *testing.T) {
	t.Parallel()
	rows := []contactsync.Row{
		{ID: "a", Body: []byte(`{"id":"a","fullName":"Jane Doe"}`)},
		{ID: "b", Body: []byte(`{"id":"b","fullName":"Wilhelmine Musterfrau"}`)},
	}
	body := `{"totalRequested":2,"successful":1,"failed":1,"successfulRecords":[{"id":"b"}],"failedRecords":[{"id":"a","reason":"the same name as Wilhelmine Musterfrau has"}]}`
	got, err := newAnswers(DefaultConfig().Answer, newRedactor()).read([]byte(body), rows, nil)
	if err != nil || got.rows[0].Verdict != contactsync.Failed || got.rows[0].Reason != "the same name as *** has" {
		t.Errorf("%+v, %v", got.rows, err)
	}
}

func TestExcerpt_IsBounded(t *testing.T) {
	t.Parallel()
	r := newRedactor()
	for _, text := range []string{strings.Repeat("a", 199), strings.Repeat("a", 200)} {
		if got := r.excerpt(text, nil, nil); got != text {
			t.Errorf("%d bytes became %d", len(text), len(got))
		}
	}
	for _, text := range []string{strings.Repeat("a", 201), strings.Repeat("ä", 1<<20), strings.Repeat("\x00", 5000), strings.Repeat("\xff", 5000)} {
		got := r.excerpt(text, nil, nil)
		if len(got) > mostDetail || !strings.HasSuffix(got, "…") || !utf8.ValidString(got) {
			t.Errorf("got %d bytes: %q", len(got), got)
		}
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add("duplicate 2445612345 of Zebulon", `{"firstName":"Zebulon"}`)
	f.Add("İstanbul \xff\x1b", `{"x":"i̇stanbul"}`)
	r := newRedactor()
	f.Fuzz(func(t *testing.T, text, body string) {
		got := r.excerpt(text, []string{testSecret}, []contactsync.Row{{Body: []byte(body)}})
		if len(got) > mostDetail || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b\x00") {
			t.Fatalf("got %q", got)
		}
		if strings.Contains(got, testSecret[:secretPrefix]) {
			t.Fatalf("the secret is in %q", got)
		}
	})
}

// TestSend_WritesNoSecret lets hosts quote everything that they were sent: the
// token, the body, and a secret that they should not even know.
func TestSend_WritesNoSecret(t *testing.T) {
	t.Parallel()
	quote := func(w http.ResponseWriter, r *http.Request) string {
		body := make([]byte, 1024)
		n, _ := r.Body.Read(body)
		return "no " + r.Header.Get("auth") + " " + r.Header.Get("auth")[:20] + " " + testSecret + " " + string(body[:n])
	}
	var seen []contactsync.Result
	var log string
	var token atomic.Value
	for _, status := range []int{200, 201, 302, 400, 401, 403, 404, 409, 413, 429, 500, 503} {
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			token.Store(r.Header.Get("auth"))
			w.Header().Set("Location", "http://"+testSecret+".test/"+r.Header.Get("auth"))
			w.WriteHeader(status)
			_, _ = w.Write([]byte(quote(w, r)))
		})
		c := newTestClient(t, host, nil)
		seen = append(seen, c.Send(t.Context(), batchOf("a")))
		log += c.log.String()
	}
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"failedRecords":[{"id":"a","reason":"no ` + r.Header.Get("auth") + ` for ZEBULON 2445612345 ` + testSecret + `"}]}`))
	})
	c := newTestClient(t, host, nil)
	seen = append(seen, c.Send(t.Context(), batchOf("a")))
	if got := seen[len(seen)-1].Rows[0].Reason; got != "no *** for *** *** ***" {
		t.Errorf("got reason %q", got)
	}
	parts := strings.Split(token.Load().(string), ".")
	for _, r := range seen {
		written := r.Detail + log + c.log.String()
		for _, o := range r.Rows {
			written += o.Reason
		}
		for _, canary := range []string{testSecret[:secretPrefix], parts[0][:8], parts[1][:secretPrefix], parts[2][:secretPrefix], "Zebulon", "zebulon", "ZEBULON", "2445612345"} {
			if strings.Contains(written, canary) {
				t.Errorf("%v: %q is in %q", r.Kind, canary, written)
			}
		}
	}
}

func TestSend_RefusedTokenIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	tokens := make(chan string, 10)
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tokens <- r.Header.Get("auth")
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusUnauthorized)
	})
	// A token's claims have whole seconds: with jti left out, two of one second are equal.
	c := newTestClient(t, host, func(cfg *Config, _ *Deps) { cfg.Accounts[0].Credentials.JTI = true })
	got := c.Send(t.Context(), batchOf("a"))
	if got.Kind != contactsync.Unauthorized || !strings.Contains(got.Detail, "our clock is 1h0m0s ahead") &&
		!strings.Contains(got.Detail, "our clock is 59m59s ahead") && !strings.Contains(got.Detail, "our clock is 1h0m1s ahead") {
		t.Errorf("got %+v", got)
	}
	c.Send(t.Context(), batchOf("a"))
	if first, second := <-tokens, <-tokens; first == second {
		t.Error("the refused token was sent again")
	}
}
