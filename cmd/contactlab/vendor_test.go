package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestVendor_RunsUntilTheSignal(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code := run(ctx, []string{"vendor", "--listen", "127.0.0.1:0", "--account", "acc", "--secret", "of-the-file", "--requests", "1"}, in, &stderr)
		_ = in.Close()
		ended <- code
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.Contains(lines.Text(), "variant page") {
		t.Fatalf("first line %q: %s", lines.Text(), stderr.String())
	}
	base := strings.TrimSuffix(strings.Fields(lines.Text())[4], ",")
	if a, b := call(t, base), call(t, base); a != 200 || b != 429 {
		t.Errorf("answers %d and %d, want 200 and 429", a, b)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	var rest strings.Builder
	for lines.Scan() {
		rest.WriteString(lines.Text() + "\n")
	}
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	for _, want := range []string{"200: 1, 429: 1", "complaints            1", "call 2, over: more than 1 requests of account acc"} {
		if !strings.Contains(rest.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &rest)
		}
	}
}
