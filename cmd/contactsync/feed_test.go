package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestFeedResume_AsksTheReplica(t *testing.T) {
	t.Parallel()
	const (
		resume    = "POST /feed/resume?partition=3&records="
		contacts3 = "&topic=contacts"
	)
	for _, test := range []struct {
		name   string
		args   []string
		status int
		answer string
		code   int
		want   string // in the output
		asked  string
	}{
		{"another try", []string{"contacts/3"}, http.StatusAccepted, "", 0, "contacts/3 goes on: it halts again where most", resume + "0" + contacts3 + "&until_readable=false"},
		{"records", []string{"contacts/3", "--records", "50000"}, http.StatusAccepted, "", 0, "of the next 50000 offsets", resume + "50000" + contacts3 + "&until_readable=false"},
		{"until readable", []string{"contacts/3", "--until-readable"}, http.StatusAccepted, "", 0, "become dead letters until most can be read", resume + "0" + contacts3 + "&until_readable=true"},
		{"refused", []string{"contacts/3"}, http.StatusConflict, "it does not wait\n", 1, "409 Conflict): it does not wait", resume + "0" + contacts3 + "&until_readable=false"},
		{"both", []string{"contacts/3", "--records", "5", "--until-readable"}, 0, "", 2, "exclude each other", ""},
		{"none at all", []string{"contacts/3", "--records", "0"}, 0, "", 2, "at least 1", ""},
		{"an offset", []string{"contacts/3@5"}, 0, "", 2, "want topic/partition", ""},
		{"nothing", nil, 0, "", 2, "TOPIC/PARTITION", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, output, question := asked(t, test.status, test.answer, []string{"feed", "resume"}, test.args)
			if code != test.code || !strings.Contains(output, test.want) || question != test.asked {
				t.Errorf("exit code %d, asked %q:\n%s", code, question, output)
			}
		})
	}
}
