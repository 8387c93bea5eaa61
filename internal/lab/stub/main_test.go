package stub

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const account = "acc-1"

func token(t testing.TB, secret, appID string, life time.Duration, jti string) string {
	t.Helper()
	c := claims{AppID: appID}
	c.ExpiresAt, c.ID = jwt.NewNumericDate(time.Now().Add(life)), jti
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func contactJSON(id string, seq int) string {
	return fmt.Sprintf(`{"id":%q,"firstName":"john","lastName":"doe","fullName":"john doe","salutation":"mr",`+
		`"cellPhone":{"extension":"+","phoneNumber":"2445612345","countryCode":"+91"},"seq":%d}`, id, seq)
}

func array(rows ...string) string { return "[" + strings.Join(rows, ",") + "]" }

func request(t testing.TB, stream, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, pathStart+stream+pathEnd, bytes.NewBufferString(body))
	r.Header.Set("auth", token(t, LabSecret, LabAppID, time.Minute, ""))
	r.Header.Set("accountId", account)
	return r
}

func newServer(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t testing.TB, s *Server, stream, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, request(t, stream, body))
	return w
}
