package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestAnswers_AsksTheReplica(t *testing.T) {
	t.Parallel()
	const (
		kept = `{"hash": "a3f91c02", "account": "a", "stream": "st-1", "kind": "unauthorized", "status": 403, "first": "2026-03-04T05:06:07Z", "last": "2026-03-04T06:06:07Z",
			"times": 3, "bytes": 2000`
		list  = `[` + kept + `}]`
		one   = kept + `, "text": "Jane\u001b[2J \u202eDoe\nis gone"}`
		asks  = "GET /api/answers?"
		asks1 = "GET /api/answers/a3f91c02?"
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
		{"list", nil, http.StatusOK, list, 0, "2026-03-04T06:06:07Z  a3f91c02  a        st-1    unauthorized  403     3      2000\n", asks},
		{"list of none", nil, http.StatusOK, "[]", 0, "BYTES\ncontactsync: this replica keeps no text of the API\n", asks},
		{"list as JSON", []string{"-o", "json"}, http.StatusOK, list, 0, `{"hash":"a3f91c02","account":"a","stream":"st-1",`, asks},
		{"one", []string{"a3f91c02"}, http.StatusOK, one, 0, "2000, of which the first 23 are kept\ntext     \"Jane\\x1b[2J \\u202eDoe\\nis gone\"\n", asks1},
		{"one as details have it", []string{"text=a3f91c02"}, http.StatusOK, one, 0, "403\n", asks1},
		{"one as JSON", []string{"a3f91c02", "-o", "json"}, http.StatusOK, one, 0, `"text":"Jane\u001b[2J \u202eDoe\nis gone"}`, asks1},
		{"none", []string{"a3f91c02"}, http.StatusNotFound, "no text with this hash is kept", 1, "404 Not Found): no text with this hash is kept", asks1},
		{"refused", nil, http.StatusForbidden, "what the API wrote is shown to", 1, "403 Forbidden): what the API wrote", asks},
		{"no answer", nil, http.StatusOK, "ok", 1, "read the replica's answer", asks},
		{"no hash", []string{"../status"}, 0, "", 2, "is no hash", ""},
		{"two", []string{"a3f91c02", "a3f91c03"}, 0, "", 2, "at most one argument", ""},
		{"otherwise", []string{"-o", "xml"}, 0, "", 2, "table or json", ""},
	} {
		code, output, question := asked(t, test.status, test.answer, []string{"answers"}, test.args)
		if code != test.code || !strings.Contains(output, test.want) || question != test.asked {
			t.Errorf("%s: exit code %d, asked %q:\n%s", test.name, code, question, output)
		}
		if strings.ContainsAny(output, "\x1b\u202e") {
			t.Errorf("%s: what controls a terminal is printed as it is: %q", test.name, output)
		}
	}
}
