package stub

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseScenario(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, fault string }{
		{"good", "rules:\n- name: a\n  from: 10s\n  to: 20s\n  match: {streams: [st-*], rows_over: 3}\n  answer: {status: 503, body: html, headers: {Retry-After: '2'}}\n- name: b\n  rows: {fail: ['*7'], id_as: contact._id}", ""},
		{"empty", "", ""},
		{"unknown key", "rules:\n- name: a\n  anwser: {}", "unknown field"},
		{"no name", "rules:\n- answer: {status: 500}", "rule 1: a rule needs a name"},
		{"nothing to do", "rules:\n- name: a", "needs an answer or rows"},
		{"nothing to do to rows", "rules:\n- name: a\n  rows: {}", "rows changes nothing"},
		{"two of a name", "rules:\n- name: a\n  answer: {}\n- name: a\n  answer: {}", "rule 2: a: there is a rule of that name already"},
		{"share", "rules:\n- name: a\n  share: 2\n  answer: {}", "share 2"},
		{"order", "rules:\n- name: a\n  first: 3\n  last: 2\n  answer: {}", "last not before first"},
		{"time", "rules:\n- name: a\n  from: 3s\n  to: 2s\n  answer: {}", "must come after"},
		{"fault", "rules:\n- name: a\n  answer: {fault: explode}", `fault "explode" is unknown`},
		{"body", "rules:\n- name: a\n  answer: {body: htm}", `body "htm" is unknown`},
		{"status", "rules:\n- name: a\n  answer: {status: 99}", "status 99"},
		{"id_as", "rules:\n- name: a\n  rows: {id_as: key}", `id_as "key"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseScenario([]byte(tt.text))
			if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("error %v, want one with %q", err, tt.fault)
			}
		})
	}
}

func TestRule_Fires(t *testing.T) {
	t.Parallel()
	base := time.Now()
	all := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	tests := []struct {
		name string
		rule Rule
		want []int // of ten calls, one each second, stream st-1, rows a and b
	}{
		{"always", Rule{}, all},
		{"off", Rule{Off: true}, nil},
		{"time", Rule{From: 3 * time.Second, To: 5 * time.Second}, []int{3, 4}},
		{"numbers", Rule{First: 2, Last: 4}, []int{2, 3, 4}},
		{"every", Rule{Every: 3}, []int{3, 6, 9}},
		{"numbers count matching calls only", Rule{From: 3 * time.Second, First: 2, Last: 2}, []int{4}},
		{"stream", Rule{Match: Match{Streams: []string{"st-*"}}}, all},
		{"other stream", Rule{Match: Match{Streams: []string{"sx-*"}}}, nil},
		{"account", Rule{Match: Match{Accounts: []string{"none"}}}, nil},
		{"id", Rule{Match: Match{IDs: []string{"b"}}}, all},
		{"other id", Rule{Match: Match{IDs: []string{"c*"}}}, nil},
		{"rows over", Rule{Match: Match{RowsOver: 1}}, all},
		{"too few rows", Rule{Match: Match{RowsOver: 2}}, nil},
	}
	rows := []row{{id: []byte("a")}, {id: []byte("b")}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := compile(tt.rule, base, 1)
			var got []int
			for i := 1; i <= 10; i++ {
				if r.fires(base.Add(time.Duration(i)*time.Second), "st-1", "acc", rows) {
					got = append(got, i)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("fired at %v, want %v", got, tt.want)
			}
		})
	}
	share := func(seed uint64) (fired []int) {
		r := compile(Rule{Share: 0.2}, base, seed)
		for i := range 1000 {
			if r.fires(base, "", "", nil) {
				fired = append(fired, i)
			}
		}
		return fired
	}
	if n := len(share(1)); n < 150 || n > 250 {
		t.Errorf("a share of 0.2 fired %d times of 1000", n)
	}
	if !slices.Equal(share(1), share(1)) || slices.Equal(share(1), share(2)) {
		t.Error("the seed does not decide the share")
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"", "", true},
		{"*", "", true},
		{"a*", "abc", true},
		{"*c", "abc", true},
		{"a*c", "ac", true},
		{"ab*bc", "abc", false},
		{"a*b*c", "axxbxc", true},
		{"a*b*c", "axc", false},
		{"*b*", "abc", true},
	} {
		if got := globsOf([]string{tt.pattern}).match([]byte(tt.text)); got != tt.want {
			t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.text, got, tt.want)
		}
	}
}

func TestScenario_Rows(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		rows Rows
		want []string // parts of the answer
		none string   // not in the answer
	}{
		{"fail", Rows{Fail: []string{"b"}, Reason: "why"}, []string{`"successful":2,"failed":1`, `"failedRecords":[{"id":"b","reason":"why"}]`}, ""},
		{"contact._id and object", Rows{Fail: []string{"b"}, Reason: "why", IDAs: "contact._id", ReasonAs: "object"}, []string{`[{"contact":{"_id":"b"},"error":{"message":"why","code":400}}]`}, ""},
		{"string", Rows{Fail: []string{"b"}, IDAs: "string"}, []string{`"failedRecords":["b"]`}, ""},
		{"no id, errors", Rows{Fail: []string{"b"}, Reason: "why", IDAs: "none", ReasonAs: "errors"}, []string{`[{"errors":[{"msg":"why","code":400}]}]`}, ""},
		{"id alone", Rows{Fail: []string{"b"}, IDAs: "_id", ReasonAs: "none"}, []string{`[{"_id":"b"}]`}, ""},
		{"omit", Rows{Omit: []string{"b"}}, []string{`"totalRequested":3,"successful":2,"failed":0`}, `"b"`},
		{"drop", Rows{Drop: []string{"b"}}, []string{`"totalRequested":3,"successful":2,"failed":0`}, `"b"`},
		{"duplicate", Rows{Duplicate: []string{"b"}}, []string{`{"id":"b"},{"id":"b"}`}, ""},
		{"unknown", Rows{Unknown: 1}, []string{`{"id":"000000000000000000000000"}]`}, ""},
		{"both", Rows{Both: []string{"b"}}, []string{`{"id":"a"},{"id":"b"},{"id":"c"}`, `"failedRecords":[{"id":"b"`}, ""},
		{"reversed", Rows{Reversed: true}, []string{`{"id":"c"},{"id":"b"},{"id":"a"}`}, ""},
		{"no records", Rows{NoRecords: true}, []string{`"successful":3,"failed":0,"successfulRecords":[],"failedRecords":[]`}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(c *Config) {
				c.Terse = true
				c.Scenario.Rules = []Rule{{Name: "r", Rows: &tt.rows}}
			})
			body := put(t, s, "st-0001", array(contactJSON("a", 1), contactJSON("b", 1), contactJSON("c", 1))).Body.String()
			for _, part := range tt.want {
				if !strings.Contains(body, part) {
					t.Errorf("answer %s lacks %s", body, part)
				}
			}
			if tt.none != "" && strings.Contains(body, tt.none) {
				t.Errorf("answer %s has %s", body, tt.none)
			}
			if _, applied := s.State()["st-0001"]["b"]; applied != (len(tt.rows.Fail)+len(tt.rows.Drop) == 0) {
				t.Errorf("b applied: %v", applied)
			}
		})
	}
}

// started is a stub with one rule behind a real connection.
func started(t *testing.T, a Answer) (*Server, *http.Client) {
	t.Helper()
	s := newServer(t, func(c *Config) { c.Scenario.Rules = []Rule{{Name: "r", Answer: &a}} })
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return s, &http.Client{Transport: transport}
}

func send1(t *testing.T, s *Server, client *http.Client) (*http.Response, error) {
	t.Helper()
	r := request(t, "st-0001", array(contactJSON(id1, 1)))
	out, err := http.NewRequestWithContext(t.Context(), r.Method, s.URL()+r.URL.Path, r.Body)
	if err != nil {
		t.Fatal(err)
	}
	out.Header = r.Header
	return client.Do(out)
}

func TestScenario_Answers(t *testing.T) {
	t.Parallel()
	yes := true
	tests := []struct {
		name    string
		answer  Answer
		status  int // 0 = the call or the reading of its answer fails
		kind    string
		check   func(body string) bool
		applied bool
	}{
		{"usual", Answer{}, 200, "application/json", func(b string) bool { return strings.Contains(b, `"successful":1`) }, true},
		{"status", Answer{Status: 503, Headers: map[string]string{"Retry-After": "7"}}, 503, "application/json", func(b string) bool { return strings.Contains(b, "Service Unavailable") }, false},
		{"applied and 504", Answer{Status: 504, Apply: &yes}, 504, "application/json", nil, true},
		{"html", Answer{Status: 502, Body: HTML}, 502, "text/html", func(b string) bool { return strings.HasPrefix(b, "<html>") }, false},
		{"html 200", Answer{Body: HTML}, 200, "text/html", nil, true},
		{"empty", Answer{Body: Empty}, 200, "application/json", func(b string) bool { return b == "" }, true},
		{"truncated", Answer{Body: Truncated}, 200, "application/json", func(b string) bool { return strings.HasPrefix(b, `{"totalRequested":1`) && !strings.HasSuffix(b, "}") }, true},
		{"wrong type", Answer{Body: WrongContentType}, 200, "text/plain; charset=utf-8", func(b string) bool { return strings.HasSuffix(b, "]}") }, true},
		{"rate limit text", Answer{Status: 403, Body: RateLimitText}, 403, "application/json", func(b string) bool { return strings.Contains(b, "per-minute rate limit") }, false},
		{"412", Answer{Status: 412}, 412, "application/json", func(b string) bool { return strings.Contains(b, "Validation errors") }, false},
		{"literal", Answer{Status: 400, Text: "no"}, 400, "application/json", func(b string) bool { return b == "no" }, false},
		{"type of its own", Answer{Status: 999, Text: "no", Headers: map[string]string{"Content-Type": "text/csv"}}, 999, "text/csv", nil, false},
		{"no HTTP", Answer{Fault: NotHTTP}, 0, "", nil, false},
		{"reset", Answer{Fault: Reset}, 0, "", nil, false},
		{"reset after applying", Answer{Fault: Reset, Apply: &yes}, 0, "", nil, true},
		{"close mid body", Answer{Fault: CloseMidBody}, 0, "", nil, true},
		{"slow", Answer{Fault: SlowBody, Pace: time.Microsecond}, 200, "application/json", func(b string) bool { return strings.HasSuffix(b, "]}") }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, client := started(t, tt.answer)
			resp, err := send1(t, s, client)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if tt.status == 0 {
				if err == nil {
					t.Fatalf("answer %d %s, want a broken connection", resp.StatusCode, body)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != tt.kind || tt.check != nil && !tt.check(string(body)) {
				t.Errorf("answer %d %s %s", resp.StatusCode, resp.Header, body)
			} else if resp.Header.Get("Retry-After") != tt.answer.Headers["Retry-After"] {
				t.Errorf("headers %v", resp.Header)
			}
			client.CloseIdleConnections()
			if err := s.Close(); err != nil { // so that the call has ended on the stub's side too
				t.Error(err)
			}
			if got := s.Stats(); (got.AppliedRows == 1) != tt.applied || got.Calls != 1 || got.Rules["r"] != 1 {
				t.Errorf("counters %+v, applied should be %v", got, tt.applied)
			}
		})
	}
}

func TestScenario_EndlessAnswers(t *testing.T) {
	t.Parallel()
	for _, a := range []Answer{{Body: Endless}, {Body: GzipBomb}} {
		t.Run(a.Body, func(t *testing.T) {
			t.Parallel()
			s, client := started(t, a)
			resp, err := send1(t, s, client)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if n, err := io.CopyN(io.Discard, resp.Body, 20<<20); err != nil {
				t.Errorf("the answer ended after %d bytes: %v", n, err)
			}
		})
	}
	zr, err := gzip.NewReader(strings.NewReader(string(bomb(1 << 20))))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, zr); n != 1<<20 || err != nil {
		t.Errorf("a member holds %d bytes: %v", n, err)
	}
}

func TestScenario_NoAnswerEndsWithTheClient(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Scenario.Rules = []Rule{{Name: "r", Answer: &Answer{Fault: NoAnswer}}} })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel() // the call has arrived: its client gives up
		s.ServeHTTP(w, r)
	}))
	r := request(t, "st-0001", array(contactJSON(id1, 1)))
	out, err := http.NewRequestWithContext(ctx, r.Method, front.URL+r.URL.Path, r.Body)
	if err != nil {
		t.Fatal(err)
	}
	out.Header = r.Header
	if resp, err := front.Client().Do(out); !errors.Is(err, context.Canceled) {
		t.Errorf("the call ended with %v, %v", resp, err)
	}
	front.Close() // waits for the call
	if n := s.Stats(); n.Calls != 1 || n.AppliedRows != 0 || n.Statuses[0] != 1 {
		t.Errorf("counters %+v", n)
	}
}

// The gateway gives up, the client sends a newer state, and the API then applies
// the older one: no client can see that, so it is counted apart.
func TestScenario_AppliedLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *Config) {
			c.Scenario.Rules = []Rule{{Name: "late", Last: 1, Answer: &Answer{Status: 504, ApplyAfter: 20 * time.Second}}}
		})
		if w := put(t, s, "st-0001", array(contactJSON(id1, 1))); w.Code != 504 {
			t.Fatalf("status %d", w.Code)
		}
		put(t, s, "st-0001", array(contactJSON(id1, 2)))
		time.Sleep(21 * time.Second)
		synctest.Wait()
		n := s.Stats()
		if n.LateRows != 1 || n.LateBack != 1 || n.OutOfOrder != 0 || n.Calls != 2 {
			t.Errorf("counters %+v", n)
		}
		calls := s.Calls()
		if len(calls) != 3 || !calls[2].Late || calls[2].Order != 2 || calls[0].Order != 0 || calls[2].Rows[0].Seq != 1 {
			t.Errorf("log %+v", calls)
		}
	})
}

func TestScenario_AtRunTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		seq := 0
		call := func() int {
			seq++
			return put(t, s, "st-0001", array(contactJSON(id1, seq))).Code
		}
		time.Sleep(time.Hour)
		if err := s.Put(Rule{Name: "down", To: time.Minute, Answer: &Answer{Status: 503}}); err != nil {
			t.Fatal(err)
		}
		if n := call(); n != 503 {
			t.Errorf("after Put: %d", n)
		}
		time.Sleep(time.Minute)
		if n := call(); n != 200 {
			t.Errorf("after the rule's end: %d", n)
		}
		if !s.Turn("down", true) || s.Turn("none", true) {
			t.Error("Turn finds the wrong rules")
		}
		if n := call(); n != 503 {
			t.Errorf("switched on again: %d", n)
		}
		s.Turn("down", false)
		if n := call(); n != 200 {
			t.Errorf("switched off: %d", n)
		}
		if n := s.script.list()[0].Fired; n != 2 {
			t.Errorf("fired %d times, want 2", n)
		}
	})
}
