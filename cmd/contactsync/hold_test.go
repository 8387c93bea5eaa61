package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestHold_AsksTheReplica(t *testing.T) {
	t.Parallel()
	const (
		held = `{"time": "2026-03-04T07:36:07Z", "window": {"holds": [{"kind": "stream_gone", "account": "a", "stream": "st\n1", "since": "2026-03-04T05:06:07Z",
			"next_probe": "2026-03-04T07:40:07Z", "probes_refused": 4, "contacts": 50000, "events": 60000, "parked": 1234567, "status": 404, "detail": "no such stream"}], "holds_left": 7}}`
		release, aside = "POST /hold/release", "POST /hold/set-aside"
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
		{"list", []string{"list"}, http.StatusOK, held, 0, "PARKED   PROBE IN\n\"st\\n1\"  a        stream_gone  2 h  50000     60000   1234567  4 min\n  status 404, 4 probes refused: no such stream\ncontactsync: 7 younger holds", "GET /status?"},
		{"list of none", []string{"list"}, http.StatusOK, `{"window": {"holds": []}}`, 0, "PROBE IN\ncontactsync: this replica has no stream on hold\n", "GET /status?"},
		{"list as JSON", []string{"list", "-o", "json"}, http.StatusOK, held, 0, `"kind":"stream_gone","account":"a","stream":"st\n1",`, "GET /status?"},
		{"list of what is no status", []string{"list"}, http.StatusOK, "ok", 1, "read the replica's /status", "GET /status?"},
		{"list otherwise", []string{"list", "-o", "xml"}, 0, "", 2, "table or json", ""},
		{"release", []string{"release", "st-1"}, http.StatusAccepted, "", 0, "st-1 is tried at once; contactsync hold list", release + "?account=&stream=st-1"},
		{"release of two", []string{"release", "st-1", "--account", "b"}, http.StatusAccepted, "", 0, "st-1 is tried at once", release + "?account=b&stream=st-1"},
		{"refused", []string{"release", "st-2"}, http.StatusConflict, "no stream is on hold\n", 1, "409 Conflict): no stream is on hold", release + "?account=&stream=st-2"},
		{"set aside", []string{"set-aside", "st-1"}, http.StatusAccepted, "", 0, "what waits in st-1 becomes dead letters", aside + "?account=&reason=&stream=st-1"},
		{"why", []string{"set-aside", "st-1", "--reason", "closed in March"}, http.StatusAccepted, "", 0, "what waits in st-1", aside + "?account=&reason=closed+in+March&stream=st-1"},
		{"no stream", []string{"release"}, 0, "", 2, "one argument, STREAM", ""},
		{"no reason to release", []string{"release", "st-1", "--reason", "x"}, 0, "", 2, "--reason", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, output, question := asked(t, test.status, test.answer, []string{"hold", test.args[0]}, test.args[1:])
			if code != test.code || !strings.Contains(output, test.want) || question != test.asked {
				t.Errorf("exit code %d, asked %q:\n%s", code, question, output)
			}
		})
	}
}
