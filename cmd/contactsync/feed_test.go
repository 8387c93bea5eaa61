package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFeedResume_AsksTheReplica(t *testing.T) {
	t.Parallel()
	const contacts3 = "&topic=contacts"
	for _, test := range []struct {
		name   string
		args   []string
		status int
		answer string
		code   int
		want   string // in the output
		asked  string
	}{
		{"another try", []string{"contacts/3"}, http.StatusAccepted, "", 0, "contacts/3 goes on: it halts again where most", "partition=3&records=0" + contacts3 + "&until_readable=false"},
		{"records", []string{"contacts/3", "--records", "50000"}, http.StatusAccepted, "", 0, "of the next 50000 offsets", "partition=3&records=50000" + contacts3 + "&until_readable=false"},
		{"until readable", []string{"contacts/3", "--until-readable"}, http.StatusAccepted, "", 0, "become dead letters until most can be read", "partition=3&records=0" + contacts3 + "&until_readable=true"},
		{"refused", []string{"contacts/3"}, http.StatusConflict, "it does not wait\n", 1, "409 Conflict): it does not wait", "partition=3&records=0" + contacts3 + "&until_readable=false"},
		{"both", []string{"contacts/3", "--records", "5", "--until-readable"}, 0, "", 2, "exclude each other", ""},
		{"none at all", []string{"contacts/3", "--records", "0"}, 0, "", 2, "at least 1", ""},
		{"an offset", []string{"contacts/3@5"}, 0, "", 2, "want topic/partition", ""},
		{"nothing", nil, 0, "", 2, "TOPIC/PARTITION", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			asked := ""
			replica := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.URL.RawQuery
				if r.Method != http.MethodPost || r.URL.Path != "/feed/resume" {
					t.Errorf("asked %s %s", r.Method, r.URL)
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.answer))
			}))
			defer replica.Close()
			code, stdout, stderr := program(t, append([]string{"feed", "resume", "--admin", strings.TrimPrefix(replica.URL, "http://")}, test.args...)...)
			if code != test.code || !strings.Contains(stdout+stderr, test.want) || asked != test.asked {
				t.Errorf("exit code %d, asked %q:\n%s%s", code, asked, stdout, stderr)
			}
		})
	}
}
