package stub

import (
	"bytes"
	"compress/gzip"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const htmlBody = "<html><head><title>503 Service Temporarily Unavailable</title></head>" +
	"<body><center><h1>503 Service Temporarily Unavailable</h1></center><hr><center>nginx</center></body></html>"

// respond applies and answers a call that passed every check.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, c *call, fired *rule) {
	if fired != nil && len(fired.fail)+len(fired.drop) > 0 {
		for i := range c.rows {
			if fired.fail.match(c.rows[i].id) || fired.drop.match(c.rows[i].id) {
				c.rows[i].skip = true
			}
		}
	}
	var a Answer
	if fired != nil && fired.Answer != nil {
		a = *fired.Answer
	}
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	applies := a.Status < 300 && a.Fault != Reset && a.Fault != NotHTTP && a.Fault != NoAnswer
	if a.Apply != nil {
		applies = *a.Apply
	}
	if applies && a.ApplyAfter == 0 {
		s.apply(c, r)
	}
	if a.ApplyAfter > 0 {
		s.applyLater(c, a.ApplyAfter)
	}
	for name, value := range a.Headers {
		w.Header().Set(name, value)
	}
	switch a.Fault {
	case Reset:
		s.leave(c)
		breakOff(w, nil)
	case NotHTTP:
		s.leave(c)
		breakOff(w, []byte("220 lab ESMTP\r\n"))
	case NoAnswer:
		select {
		case <-r.Context().Done():
		case <-s.closing:
		}
		panic(http.ErrAbortHandler)
	case CloseMidBody, SlowBody:
		c.status = a.Status
		s.piecewise(w, r, c, a, s.body(c, a, fired))
	default:
		c.status = a.Status
		s.whole(w, r, c, a, fired)
	}
}

// whole sends the answer in one piece, or an endless or exploding one for as long
// as the client accepts it.
func (s *Server) whole(w http.ResponseWriter, r *http.Request, c *call, a Answer, fired *rule) {
	switch a.Body {
	case Endless:
		s.leave(c)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.Status)
		piece := []byte(`{"successfulRecords":[` + strings.Repeat(" ", 32<<10))
		for r.Context().Err() == nil && s.open() {
			if _, err := w.Write(piece); err != nil {
				return
			}
			piece = piece[len(piece)-32<<10:]
		}
	case GzipBomb:
		s.leave(c)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(a.Status)
		member := bomb(16 << 20)
		for range 64 {
			if _, err := w.Write(member); err != nil {
				return
			}
		}
	case WrongContentType:
		body := s.body(c, a, fired)
		s.leave(c)
		send(w, a.Status, "text/plain; charset=utf-8", body)
	default:
		body := s.body(c, a, fired)
		kind := "application/json"
		if a.Body == HTML {
			kind = "text/html"
		}
		s.leave(c)
		send(w, a.Status, kind, body)
	}
}

func (s *Server) open() bool {
	select {
	case <-s.closing:
		return false
	default:
		return true
	}
}

// body is the text of an answer.
func (s *Server) body(c *call, a Answer, fired *rule) []byte {
	switch {
	case a.Text != "":
		return []byte(a.Text)
	case a.Body == HTML:
		return []byte(htmlBody)
	case a.Body == Empty:
		return nil
	case a.Body == RateLimitText:
		return refusal{a.Status, rateLimitText, 0}.body()
	case fired != nil && fired.Rows != nil: // which show in the vendor's answer only
	case a.Status >= 300 && a.Status != http.StatusPreconditionFailed:
		return refusal{a.Status, http.StatusText(a.Status), 0}.body()
	case a.Status == http.StatusPreconditionFailed:
		return refusal{a.Status, "Validation errors/ Invalid arguments", 0}.body()
	}
	c.out = c.answer(c.out[:0], s.cfg.Terse, fired)
	if a.Body == Truncated {
		return c.out[:len(c.out)/2]
	}
	return c.out
}

// piecewise sends a part of the answer and cuts the connection, or all of it slowly.
func (s *Server) piecewise(w http.ResponseWriter, r *http.Request, c *call, a Answer, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.Status)
	out := http.NewResponseController(w)
	if a.Fault == CloseMidBody {
		_, _ = w.Write(body[:len(body)/2])
		s.leave(c)
		_ = out.Flush()
		panic(http.ErrAbortHandler)
	}
	pace := a.Pace
	if pace == 0 {
		pace = 100 * time.Millisecond
	}
	const piece = 16
	for len(body) > piece {
		if _, err := w.Write(body[:piece]); err != nil || out.Flush() != nil || !s.wait(pace, r.Context().Done()) {
			panic(http.ErrAbortHandler)
		}
		body = body[piece:]
	}
	s.leave(c)
	_, _ = w.Write(body)
}

// breakOff ends the connection, after some bytes or else with an RST.
func breakOff(w http.ResponseWriter, first []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && first == nil {
		_ = tcp.SetLinger(0)
	}
	_, _ = conn.Write(first) // the client may have gone
	_ = conn.Close()
}

// bomb is size spaces as a gzip member. A stream may have several of them.
func bomb(size int) []byte {
	var buf bytes.Buffer
	zw, _ := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	spaces := bytes.Repeat([]byte(" "), 64<<10)
	for range size / len(spaces) {
		_, _ = zw.Write(spaces) // a bytes.Buffer takes everything
	}
	_ = zw.Close()
	return buf.Bytes()
}
