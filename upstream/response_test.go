package upstream

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/contactsync/contactsync"
)

func TestSend_Gzip(t *testing.T) {
	t.Parallel()
	zip := func(data []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(data)
		_ = w.Close()
		return b.Bytes()
	}
	good := zip(goodAnswer(batchOf("a", "b")))
	zeros := bytes.Repeat([]byte(" "), 8<<20)
	big := append([]byte(`{"totalRequested":2,"successful":2,"failed":0,"x":"`), bytes.Repeat([]byte("a"), 200<<10)...)
	tests := []struct {
		name   string
		body   []byte
		kind   contactsync.Kind
		detail string
	}{
		{"not asked for", good, contactsync.Answered, ""},
		{"truncated", good[:len(good)-10], contactsync.Unavailable, "not complete JSON"},
		{"wrong checksum", append(bytes.Clone(good[:len(good)-8]), 1, 2, 3, 4, 5, 6, 7, 8), contactsync.Unavailable, "not complete JSON"},
		{"bomb", zip(zeros), contactsync.Unavailable, errBomb.Error()},
		{"bomb in a bomb", zip(zip(zeros)), contactsync.Unavailable, "not complete JSON"},
		{"decompresses beyond the limit", zip(big), contactsync.Unavailable, errTooLong.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(tt.body)
			})
			c := newTestClient(t, host, func(cfg *Config, _ *Deps) {
				if tt.name != "bomb" {
					cfg.MaxAnswerBytes = 100 << 10
				}
			})
			got := c.Send(t.Context(), batchOf("a", "b"))
			if got.Kind != tt.kind || got.Ambiguous || !strings.Contains(got.Detail, tt.detail) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestSend_EndlessAnswer(t *testing.T) {
	t.Parallel()
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"totalRequested":1,"successful":1,"failed":0,"successfulRecords":[`)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat(`{"id":"b"},`, 1000)); err != nil {
				return
			}
		}
	})
	c := newTestClient(t, host, func(cfg *Config, _ *Deps) { cfg.MaxAnswerBytes = 1 << 20 })
	got := c.Send(t.Context(), batchOf("a"))
	if got.Kind != contactsync.Unavailable || !strings.Contains(got.Detail, "max_answer_bytes") {
		t.Errorf("got %+v", got)
	}
}

func TestSend_BrokenAnswers(t *testing.T) {
	t.Parallel()
	full := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name      string
		answer    string
		kind      contactsync.Kind
		status    int
		ambiguous bool
		detail    string
	}{
		{"closed without an answer", "", contactsync.Unavailable, 0, true, "cut off"},
		{"not HTTP", "SSH-2.0-nothing\r\n", contactsync.Unavailable, 0, true, "cut off"},
		{"headers cut", full, contactsync.Unavailable, 0, true, "cut off"},
		{"endless headers", full + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100), contactsync.Unavailable, 0, true, "cut off"},
		{"body cut by length", full + "Content-Length: 500\r\n\r\n{\"totalRequested\":1", contactsync.Unavailable, 200, true, "cut off"},
		{"body cut in a chunk", full + "Transfer-Encoding: chunked\r\n\r\n20\r\n{\"tot", contactsync.Unavailable, 200, true, "cut off"},
		{"complete answer, closed", full + "\r\n{\"totalRequested\":1,\"successful\":1,\"failed\":0}", contactsync.Answered, 200, false, ""},
		{"refusal with its body cut", "HTTP/1.1 413 Too Large\r\nContent-Length: 500\r\n\r\nmuch", contactsync.TooLarge, 413, false, "413 Request Entity Too Large: type=none bytes=4"},
		{"refusal with an endless body", "HTTP/1.1 400 Bad\r\n\r\n" + strings.Repeat("no ", 100_000), contactsync.BadRequest, 400, false, "text="},
		{"switching protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", contactsync.Unknown, 101, false, ""},
		{"continue for ever", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), contactsync.Unavailable, 0, true, "cut off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			host, conns := rawServer(t, func(conn net.Conn) {
				readRequest(conn)
				_, _ = io.WriteString(conn, tt.answer)
			})
			c := newTestClient(t, host, nil)
			got := c.Send(t.Context(), batchOf("a"))
			if got.Kind != tt.kind || got.Status != tt.status || got.Ambiguous != tt.ambiguous || !strings.Contains(got.Detail, tt.detail) {
				t.Errorf("got %+v", got)
			}
			if conns.Load() != 1 {
				t.Errorf("%d connections for one attempt", conns.Load())
			}
		})
	}
}

// rawServer hands each connection to handle once a request has been read from
// it up to the end of its headers, and counts them.
func rawServer(t *testing.T, handle func(net.Conn)) (host string, conns *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			handle(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String(), conns
}

func readRequest(conn net.Conn) {
	var got []byte
	one := make([]byte, 4096)
	for !bytes.HasSuffix(got, []byte("}]")) {
		n, err := conn.Read(one)
		if err != nil {
			return
		}
		got = append(got, one[:n]...)
	}
}

func TestReadBody_LimitIsInclusive(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{999: nil, 1000: nil, 1001: errTooLong} {
		resp := &http.Response{Body: io.NopCloser(strings.NewReader(strings.Repeat("a", size))), ContentLength: -1}
		var buf bytes.Buffer
		if err := readBody(resp, 1000, &buf, &share{reading: newReading(1000), ctx: t.Context()}); !errors.Is(err, want) || err == nil && buf.Len() != size {
			t.Errorf("%d bytes: read %d, %v, want %v", size, buf.Len(), err, want)
		}
	}
}
