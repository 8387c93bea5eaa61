package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

// server is a command that serves until it is stopped.
type server struct {
	t      *testing.T
	first  string // line of its output
	lines  *bufio.Scanner
	stop   context.CancelFunc
	ended  chan int
	stderr bytes.Buffer
}

// serve runs a command until its first line of output.
func serve(t *testing.T, args ...string) *server {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	out, in := io.Pipe()
	s := &server{t: t, lines: bufio.NewScanner(out), stop: stop, ended: make(chan int, 1)}
	go func() {
		code := run(ctx, args, in, &s.stderr)
		_ = in.Close()
		s.ended <- code
	}()
	if !s.lines.Scan() {
		t.Fatalf("no first line: %s", s.stderr.String())
	}
	s.first = s.lines.Text()
	return s
}

// rest stops the command, which must end well, and returns the rest of its output.
func (s *server) rest() string {
	s.t.Helper()
	s.stop()
	var rest strings.Builder
	for s.lines.Scan() {
		rest.WriteString(s.lines.Text() + "\n")
	}
	if code := <-s.ended; code != 0 {
		s.t.Errorf("exit code %d: %s", code, s.stderr.String())
	}
	return rest.String()
}
