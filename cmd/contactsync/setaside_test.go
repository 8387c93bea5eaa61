package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestSetAside_AsksTheReplica(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		args   []string
		status int
		answer string
		code   int
		want   string // in the output
		asked  string
	}{
		{"taken", []string{"contacts/3@5", "--last", "9"}, http.StatusAccepted, "", 0, "offsets 5 to 9 of contacts/3 are set aside", "POST /set-aside?first=5&last=9&partition=3&topic=contacts"},
		{"one offset", []string{"contacts/3@5", "--last", "5"}, http.StatusAccepted, "", 0, "offsets 5 to 5", "POST /set-aside?first=5&last=5&partition=3&topic=contacts"},
		{"refused", []string{"contacts/3@5", "--last", "9"}, http.StatusConflict, "it is not halted\n", 1, "409 Conflict): it is not halted", "POST /set-aside?first=5&last=9&partition=3&topic=contacts"},
		{"no last offset", []string{"contacts/3@5"}, 0, "", 2, "--last", ""},
		{"last before first", []string{"contacts/3@5", "--last", "4"}, 0, "", 2, "not before 5", ""},
		{"no position", []string{"--last", "4"}, 0, "", 2, "TOPIC/PARTITION@FIRST", ""},
		{"a partition alone", []string{"contacts/3", "--last", "4"}, 0, "", 2, "topic/partition@offset", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, output, question := asked(t, test.status, test.answer, []string{"set-aside"}, test.args)
			if code != test.code || !strings.Contains(output, test.want) || question != test.asked {
				t.Errorf("exit code %d, asked %q:\n%s", code, question, output)
			}
		})
	}
}
