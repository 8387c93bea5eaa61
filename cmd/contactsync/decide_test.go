package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// asked runs a command against a replica that gives one answer, and returns how it ended and
// what the replica was asked, as METHOD PATH?QUERY; nothing where it was not.
func asked(t *testing.T, status int, answer string, command, args []string) (code int, output, question string) {
	t.Helper()
	replica := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question = r.Method + " " + r.URL.Path + "?" + r.URL.RawQuery
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	defer replica.Close()
	all := append(append([]string{}, command...), "--admin", strings.TrimPrefix(replica.URL, "http://"))
	code, stdout, stderr := program(t, append(all, args...)...)
	return code, stdout + stderr, question
}
