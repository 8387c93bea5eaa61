package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
)

// TestSend_Time lets hosts take their time, in a bubble whose clock is exact.
func TestSend_Time(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
	drip := func(conn net.Conn, text string) {
		for _, b := range []byte(text) {
			if _, err := conn.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	tests := []struct {
		name      string
		serve     func(net.Conn) // nil: nobody accepts the connection
		stopAfter time.Duration
		took      time.Duration
		kind      contactsync.Kind
		status    int
		ambiguous bool
	}{
		{"no connection", nil, 0, 30 * time.Second, contactsync.Unavailable, 0, false},
		// Only headers were written, and without a body there is nothing to apply.
		{"request is not read", func(net.Conn) { time.Sleep(time.Hour) }, 0, 30 * time.Second, contactsync.Unavailable, 0, false},
		{"no answer", func(c net.Conn) { readRequest(c); time.Sleep(time.Hour) }, 0, 30 * time.Second, contactsync.Unavailable, 0, true},
		{"headers drip", func(c net.Conn) { readRequest(c); drip(c, head) }, 0, 30 * time.Second, contactsync.Unavailable, 0, true},
		{"body drips", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, head)
			drip(c, strings.Repeat(" ", 1000))
		}, 0, 30 * time.Second, contactsync.Unavailable, 200, true},
		{"body of a refusal drips", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 1000\r\n\r\n")
			drip(c, strings.Repeat(" ", 1000))
		}, 0, 30 * time.Second, contactsync.BadRequest, 400, false},
		{"stopped while connecting", nil, 2 * time.Second, 2 * time.Second, contactsync.Canceled, 0, false},
		{"stopped while waiting", func(c net.Conn) { readRequest(c); time.Sleep(time.Hour) }, 2 * time.Second, 2 * time.Second, contactsync.Canceled, 0, true},
		{"stopped while reading", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, head)
			drip(c, strings.Repeat(" ", 1000))
		}, 2 * time.Second, 2 * time.Second, contactsync.Canceled, 200, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				done := make(chan struct{})
				go func() {
					defer close(done)
					if tt.serve == nil {
						return
					}
					conn, err := p.Accept()
					if err != nil {
						return
					}
					tt.serve(conn)
					_ = conn.Close()
				}()
				c := newPipeClient(t, p, 30*time.Second)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if tt.stopAfter > 0 {
					time.AfterFunc(tt.stopAfter, func() { cancel(errors.New("drain")) })
				}
				start := time.Now()
				got := c.Send(ctx, batchOf("a"))
				took := time.Since(start)
				_ = p.Close()
				<-done
				if took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if got.Kind != tt.kind || got.Status != tt.status || got.Ambiguous != tt.ambiguous {
					t.Errorf("got %+v", got)
				}
				if tt.kind == contactsync.Canceled && got.Detail != "stopped: drain" {
					t.Errorf("got detail %q", got.Detail)
				}
			})
		})
	}
}
