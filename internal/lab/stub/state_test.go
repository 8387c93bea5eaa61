package stub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestStats_CountsWhatAClientMustNotDo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		calls [][]string // rows by call
		count func(Stats) int64
		want  int64
	}{
		{"in order", [][]string{{contactJSON(id1, 1)}, {contactJSON(id1, 2)}, {contactJSON(id2, 1)}}, func(n Stats) int64 { return n.OutOfOrder + n.Duplicates + n.Overlaps }, 0},
		{"older after newer", [][]string{{contactJSON(id1, 2)}, {contactJSON(id1, 1)}}, func(n Stats) int64 { return n.OutOfOrder }, 1},
		{"same again", [][]string{{contactJSON(id1, 2)}, {contactJSON(id1, 2)}}, func(n Stats) int64 { return n.Duplicates }, 1},
		{"same again is not out of order", [][]string{{contactJSON(id1, 2)}, {contactJSON(id1, 2)}}, func(n Stats) int64 { return n.OutOfOrder }, 0},
		{"named twice", [][]string{{contactJSON(id1, 1), contactJSON(id2, 1), contactJSON(id1, 2)}}, func(n Stats) int64 { return n.NamedTwice }, 1},
		{"named twice is no overlap", [][]string{{contactJSON(id1, 1), contactJSON(id1, 2)}}, func(n Stats) int64 { return n.Overlaps }, 0},
		{"contacts", [][]string{{contactJSON(id1, 1), contactJSON(id2, 1)}, {contactJSON(id1, 2)}}, func(n Stats) int64 { return n.Contacts }, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, nil)
			for _, rows := range tt.calls {
				put(t, s, "st-0001", array(rows...))
			}
			if got := tt.count(s.Stats()); got != tt.want {
				t.Errorf("counted %d, want %d", got, tt.want)
			}
		})
	}
}

func TestStats_CountsOverlaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *Config) { c.Latency = time.Second })
		for i, call := range []struct{ stream, id string }{{"st-0001", id1}, {"st-0001", id1}, {"st-0001", id2}, {"st-0002", id1}} {
			go put(t, s, call.stream, array(contactJSON(call.id, i)))
		}
		synctest.Wait()
		if n := s.Stats().Overlaps; n != 1 {
			t.Errorf("%d overlaps, want 1: the other contact and the other stream are apart", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := s.Stats(); n.InFlight != 0 || n.Calls != 4 {
			t.Errorf("after the calls: %d in flight, %d calls", n.InFlight, n.Calls)
		}
	})
}

// A client that gave up a call may send the contact again, although the server is
// still at work with the first.
func TestStats_AGivenUpCallDoesNotOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *Config) { c.Latency = time.Minute })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go s.ServeHTTP(httptest.NewRecorder(), request(t, "st-0001", array(contactJSON(id1, 1))).WithContext(ctx))
		time.Sleep(2 * time.Second)
		put(t, s, "st-0001", array(contactJSON(id1, 2)))
		synctest.Wait()
		if n := s.Stats(); n.Overlaps != 0 || n.LateRows != 1 || n.OutOfOrder != 0 {
			t.Errorf("counters %+v", n)
		}
		if c := s.Calls()[0]; !c.Late || c.Done-c.Received != int64(time.Second) {
			t.Errorf("the call that was given up is logged as %+v", c)
		}
	})
}

func TestServer_StateAndLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := newServer(t, func(c *Config) { c.Log, c.KeepRows = &out, 3 })
	put(t, s, "st-0001", array(contactJSON(id1, 1), contactJSON("bad1", 4)))
	put(t, s, "st-0002", array(contactJSON(`quo\"te`, 7)))
	r := request(t, "st-0001", array(contactJSON(id1, 2)))
	r.Header.Del("auth")
	s.ServeHTTP(httptest.NewRecorder(), r)

	if want := map[string]map[string]int64{"st-0001": {id1: 1}, "st-0002": {`quo\"te`: 7}}; !reflect.DeepEqual(s.State(), want) {
		t.Errorf("state %v, want %v", s.State(), want)
	}
	kept := s.Calls()
	if len(kept) != 2 || s.Stats().Unlogged != 1 {
		t.Fatalf("%d calls kept and %d not, want 2 and 1", len(kept), s.Stats().Unlogged)
	}
	out.WriteString(`{"recv":1,`) // the stub was killed in the middle of a line
	read, err := ReadLog(&out)
	if err != nil {
		t.Fatal(err)
	}
	if len(read) != 3 || !reflect.DeepEqual(read[:2], kept) {
		t.Errorf("read %+v\nkept %+v", read, kept)
	}
	c := read[0]
	if c.Order != 1 || c.Status != 200 || c.Account != account || !c.Rows[0].Applied || c.Rows[1].Applied || c.Done < c.Received {
		t.Errorf("first call: %+v", c)
	}
	if c := read[2]; c.Order != 0 || c.Status != 401 || len(c.Rows) != 1 || c.Rows[0].Seq != 2 {
		t.Errorf("a refused call is logged with its rows: %+v", c)
	}
	if strings.Contains(fmt.Sprint(read), "john") {
		t.Error("a contact field is in the log")
	}
	s.Reset()
	if len(s.State()) != 0 || s.Stats().Calls != 0 || len(s.Calls()) != 0 {
		t.Error("something is left after a reset")
	}
}

// Calls are reused: one that is cut off in its body must not be logged with the rows
// of the call before, which may have been of another stream.
func TestServer_ACallThatIsCutOffHasNoRows(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for range 20 { // a pool may drop what it is given
		put(t, s, "st-0001", array(contactJSON(id1, 1)))
		r := request(t, "st-0002", "")
		r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
		func() {
			defer func() { _ = recover() }() // as net/http does
			s.ServeHTTP(httptest.NewRecorder(), r)
		}()
	}
	for _, c := range s.Calls() {
		if c.Stream == "st-0002" && len(c.Rows) > 0 {
			t.Fatalf("logged as %+v", c)
		}
	}
	if n := s.Stats(); n.Calls != 40 || n.Rows != 20 {
		t.Errorf("%d calls and %d rows, want 40 and 20", n.Calls, n.Rows)
	}
}

func TestServer_Pages(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	put(t, s, "st-0001", array(contactJSON(id1, 5)))
	tests := []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"GET", "/stats", "", 200, "rows applied</td><td>1"},
		{"GET", "/stats.json", "", 200, `"statuses":{"200":1}`},
		{"GET", "/state.json?stream=st-0001", "", 200, `{"` + id1 + `":5}`},
		{"GET", "/state.json", "", 200, `{"st-0001":{"` + id1 + `":5}}`},
		{"GET", "/nothing", "", 404, ""},
		{"POST", "/fault", "name: down\nanswer: {status: 503}", 204, ""},
		{"POST", "/fault", `{"name": "down", "answer": {"status": 1}}`, 400, "must lie between"},
		{"POST", "/fault", "nme: down", 400, "unknown field"},
		{"GET", "/fault", "", 200, `[{"name":"down","off":false,"fired":0}]`},
		{"POST", "/fault?name=down&off=true", "", 204, ""},
		{"POST", "/fault?name=none&off=true", "", 404, ""},
		{"POST", "/fault?name=down", "", 400, "true or false"},
		{"GET", "/fault", "", 200, `"off":true`},
		{"POST", "/reset", "", 204, ""},
		{"GET", "/state.json", "", 200, `{}`},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body)))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s %s: %d %s, want %d with %q", tt.method, tt.path, w.Code, w.Body, tt.status, tt.text)
		}
	}
}

func TestServer_StartAndClose(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	other := newServer(t, nil)
	if err := other.Start(strings.TrimPrefix(s.URL(), "http://")); err == nil {
		t.Error("two stubs on one port")
	}
	resp, err := http.Get(s.URL() + "/stats.json")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestServer_SuspendAndResume(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ask := func() error {
		res, err := client.Get(s.URL() + "/stats.json")
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	for range 2 {
		if err := ask(); err != nil {
			t.Error(err)
		}
		s.Suspend()
		if err := ask(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("while it is suspended: %v", err)
		}
		for range 2 { // the second time there is nothing to do
			if err := s.Resume(); err != nil {
				t.Error(err)
			}
		}
	}
}
