package stub

import (
	"bytes"
	"context"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// call is one call while it is handled. It is reused, with its buffers.
type call struct {
	*parser

	state           *streamState
	stream, account string
	from, agent     string
	received        time.Time
	flight          *inFlight
	late            bool
	order           int64
	status          int
	rule            string
	out             []byte
}

// inFlight is a call for as long as it is in flight for its client. That ends once:
// just before the end of the answer, or when the client goes away, which another
// goroutine notices. So it may outlive the call, whose buffers are reused.
type inFlight struct {
	once  sync.Once
	state *streamState
	rows  []row
	ended time.Time
	stop  func() bool // stops watching whether the client goes away
}

func (f *inFlight) end() {
	f.once.Do(func() {
		f.ended = time.Now()
		f.state.leave(f.rows)
	})
}

// bulkUpdate takes one call from its arrival to the end of its answer.
func (s *Server) bulkUpdate(w http.ResponseWriter, r *http.Request, stream string) {
	c := s.calls.Get().(*call)
	*c = call{parser: c.parser, out: c.out[:0], stream: stream, received: time.Now(), state: s.stream(stream)}
	c.rows = c.rows[:0] // of the call before: one whose client goes away in the middle has none
	c.account, c.from, c.agent = r.Header.Get("accountId"), r.RemoteAddr, r.UserAgent()
	s.count.update(func(n *Stats) {
		n.InFlight++
		n.MaxInFlight = max(n.MaxInFlight, n.InFlight)
	})
	defer s.end(c)

	// The body is read before anything is checked: the log names the rows of every
	// call, refused ones too.
	tooLarge, err := c.read(r.Body, s.cfg.MaxBytes)
	if err != nil {
		panic(http.ErrAbortHandler) // the client went away
	}
	unreadable := !tooLarge && c.parse() != nil
	overlaps, again := c.state.enter(c.rows)
	c.flight = &inFlight{state: c.state, rows: c.rows}
	c.flight.stop = context.AfterFunc(r.Context(), c.flight.end)
	s.count.update(func(n *Stats) {
		n.Overlaps += overlaps
		n.NamedTwice += again
	})
	if ref := s.judge(c, r, tooLarge, unreadable, again > 0); ref.status != 0 {
		var after time.Duration
		if ref.status == s.cfg.RateStatus && ref.msg == rateLimitText {
			after = s.cfg.RetryAfter
		}
		s.leave(c)
		c.status = ref.status
		sendRefusal(w, ref, after)
		return
	}
	if !s.takeSlot(r) {
		panic(http.ErrAbortHandler)
	}
	defer s.freeSlot()
	fired := s.script.choose(time.Now(), stream, c.account, c.rows)
	latency := s.latency()
	if fired != nil {
		c.rule = fired.Name
		if fired.Answer != nil {
			latency += fired.Answer.Latency
		}
	}
	if !s.wait(latency, nil) { // as a server does, whether its client waits or not
		panic(http.ErrAbortHandler)
	}
	s.respond(w, r, c, fired)
}

// read reads the body into c.body; tooLarge is set where it is longer than limit.
func (c *call) read(body io.Reader, limit int64) (tooLarge bool, err error) {
	if limit <= 0 {
		limit = math.MaxInt64 - 1
	}
	buf := bytes.NewBuffer(c.body[:0])
	_, err = buf.ReadFrom(io.LimitReader(body, limit+1))
	c.body = buf.Bytes()
	return int64(len(c.body)) > limit, err
}

// judge makes the checks of every call, in the order given in doc.go.
func (s *Server) judge(c *call, r *http.Request, tooLarge, unreadable, again bool) refusal {
	if r.Method != http.MethodPut {
		return refusal{http.StatusMethodNotAllowed, "Method Not Allowed", 0}
	}
	ref, cross := s.gate.check(r.Header, c.account, c.stream)
	if cross {
		s.count.update(func(n *Stats) { n.CrossTalk++ })
	}
	if ref.status != 0 {
		return ref
	}
	if !s.limit.take(c.account, c.received) {
		s.count.update(func(n *Stats) { n.RateRefused++ })
		return refusal{s.cfg.RateStatus, rateLimitText, 0}
	}
	if tooLarge || s.cfg.MaxRows > 0 && len(c.rows) > s.cfg.MaxRows {
		s.count.update(func(n *Stats) { n.TooLarge++ })
		return refusal{http.StatusRequestEntityTooLarge, "request entity too large", 0}
	}
	if unreadable {
		s.count.update(func(n *Stats) { n.Unreadable++ })
		return refusal{http.StatusBadRequest, "Invalid JSON", 0}
	}
	invalid := 0
	need := hasAll
	if s.cfg.Partial {
		need = hasID
	}
	rejected := false
	for i := range c.rows {
		if row := &c.rows[i]; row.bad || row.has&need != need {
			invalid++
		} else if s.reject.match(row.id) {
			row.skip, rejected = true, true
		}
	}
	if invalid > 0 {
		s.count.update(func(n *Stats) { n.Invalid += int64(invalid) })
	}
	if invalid > 0 || len(c.rows) == 0 || again || rejected && s.cfg.RejectCall {
		return refusal{http.StatusPreconditionFailed, "Validation errors/ Invalid arguments", 0}
	}
	return refusal{}
}

// apply applies the rows, except those that are to fail. A client that has gone
// meanwhile may have sent newer states already: then the call counts as late.
func (s *Server) apply(c *call, r *http.Request) {
	c.late = r.Context().Err() != nil
	t := c.state.apply(c.rows, func() int64 { return s.order.Add(1) })
	if t.rows > 0 {
		c.order = t.order
	}
	s.count.tally(t, c.late)
}

// applyLater applies the rows after d, as a call of its own in the log. It copies
// what it needs, because the call's buffers are reused by then.
func (s *Server) applyLater(c *call, d time.Duration) {
	later := &call{
		parser: &parser{rows: make([]row, len(c.rows))}, state: c.state,
		stream: c.stream, account: c.account, from: c.from, agent: c.agent, rule: c.rule, late: true,
	}
	for i, r := range c.rows {
		later.rows[i] = row{contact: r.contact, id: bytes.Clone(r.id), seq: r.seq, skip: r.skip}
	}
	s.late.Go(func() {
		if !s.wait(d, nil) {
			return
		}
		later.received = time.Now()
		t := later.state.apply(later.rows, func() int64 { return s.order.Add(1) })
		s.count.tally(t, true)
		later.order = t.order
		s.write(later)
	})
}

// leave ends the call's time in flight. It comes before the last byte of the
// answer, because the client may send the contact's next state right after that.
func (s *Server) leave(c *call) {
	if c.flight != nil { // nil where the client went away before its rows were read
		c.flight.stop()
		c.flight.end()
	}
}

// end counts and logs the call, also where an answer was cut off by a panic.
func (s *Server) end(c *call) {
	s.leave(c)
	s.count.update(func(n *Stats) {
		n.InFlight--
		n.Calls++
		n.Rows += int64(len(c.rows))
		n.Statuses[c.status]++
		if c.rule != "" {
			n.Rules[c.rule]++
		}
	})
	s.write(c)
	const keep = 8 << 20 // a larger buffer is not worth its memory
	if cap(c.body) < keep && cap(c.out) < keep {
		s.calls.Put(c)
	}
}

func (s *Server) write(c *call) {
	done := c.received
	if c.flight != nil {
		done = c.flight.ended
	}
	s.journal.add(Call{
		Received: int64(c.received.Sub(s.start)), Done: int64(done.Sub(s.start)),
		Order: c.order, Status: c.status, Late: c.late, Stream: c.stream, Account: c.account,
		From: c.from, Agent: c.agent, Rule: c.rule,
	}, c.rows)
}

func (s *Server) takeSlot(r *http.Request) bool {
	if s.slots == nil {
		return true
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-r.Context().Done():
	case <-s.closing:
	}
	return false
}

func (s *Server) freeSlot() {
	if s.slots != nil {
		<-s.slots
	}
}

const rateLimitText = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."

func sendRefusal(w http.ResponseWriter, ref refusal, retryAfter time.Duration) {
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
	}
	send(w, ref.status, "application/json", ref.body())
}

func send(w http.ResponseWriter, status int, kind string, body []byte) {
	if w.Header().Get("Content-Type") == "" { // a scenario may have set its own
		w.Header().Set("Content-Type", kind)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have gone
}
