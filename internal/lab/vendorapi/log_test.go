package vendorapi

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"
)

func TestLog_OneContactInTwoRequests(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := start(t, Config{Latency: at(10)})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go c.do(c.request("[" + one(john, "old", "1") + "]").WithContext(ctx))
			time.Sleep(time.Second)
			want := InFlight
			if gone {
				cancel()
				synctest.Wait()
				want = Abandoned
			}
			c.put("[" + one(john, "new", "1") + "," + one(jane, "jane", "2") + "]")
			c.wantComplaints(want)
			if log := c.api.Log(); len(log.Changes) != 3 || log.Changes[0].Late != gone {
				t.Errorf("a request is worked on to its end: %+v", log.Changes)
			}
			c.put("[" + one(john, "new", "1") + "]")
			c.wantComplaints(want)
		})
	}
}

func TestLog_OneContactTwiceInARequest(t *testing.T) {
	t.Parallel()
	twice := "[" + one(john, "a", "1") + "," + one("6964AF60450340957C6AAAAA", "b", "1") + "]"
	for _, tc := range []struct {
		way             Duplicates
		status, records int
	}{{DuplicatesApplied, 200, 2}, {DuplicatesOnce, 200, 1}, {DuplicatesRefused, 412, 0}} {
		c := start(t, Config{Unknowns: Unknowns{Duplicates: tc.way}})
		if got := c.put(twice); got.status != tc.status || len(got.body.SuccessfulRecords) != tc.records {
			t.Errorf("%q: %d %s", tc.way, got.status, got.text)
		}
		c.wantComplaints(Twice)
	}
}

func TestLog_OlderStateAfterANewerOne(t *testing.T) {
	t.Parallel()
	version := func(sent json.RawMessage) (int64, bool) {
		var row struct{ Seq *int64 }
		if json.Unmarshal(sent, &row) != nil || row.Seq == nil {
			return 0, false
		}
		return *row.Seq, true
	}
	sent := func(id, text string) Change { return Change{Stream: stream, ID: id, Sent: json.RawMessage(text)} }
	log := Log{Changes: []Change{
		sent("aa", `{"seq":1}`), sent("AA", `{"seq":3}`), sent("bb", `{"seq":2}`), sent("aa", `{"seq":2}`), sent("aa", `{"seq":3}`), sent("aa", `{}`),
	}}
	if got := log.Falls(version); len(got) != 1 || string(got[0].Sent) != `{"seq":2}` || got[0].ID != "aa" {
		t.Errorf("%+v", got)
	}
}

func TestBudget_Kinds(t *testing.T) {
	t.Parallel()
	row := "[" + one(john, "john", "1") + "]"
	for _, tc := range []struct {
		kind  BudgetKind
		at    []int // seconds since the full minute
		taken []bool
		over  int
	}{
		{Rolling, []int{0, 30, 59, 60, 61, 119, 121}, []bool{true, true, false, true, false, true, true}, 2},
		{Fixed, []int{58, 59, 59, 60, 61, 62}, []bool{true, true, false, true, true, false}, 0},
		{Paced, []int{0, 29, 30, 90}, []bool{true, false, true, true}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := start(t, Config{Budget: Budget{Requests: 2, Kind: tc.kind, FreeIfOver: true, RetryAfter: RetryAfterSeconds}})
			began := time.Now().Truncate(time.Minute).Add(time.Minute)
			for i, second := range tc.at {
				time.Sleep(time.Until(began.Add(at(second))))
				got := c.put(row)
				if (got.status == 200) != tc.taken[i] || (got.header.Get("Retry-After") == "") != tc.taken[i] {
					t.Errorf("%q: at %d s: %d %q", tc.kind, second, got.status, got.header.Get("Retry-After"))
				}
			}
			over := 0
			for _, complaint := range c.api.Log().Complaints {
				if complaint.Fault != Over {
					t.Errorf("%v", complaint)
				}
				over++
			}
			if tc.kind == Rolling && over != tc.over || tc.kind == Paced && over != 0 {
				t.Errorf("%q: %d complaints", tc.kind, over)
			}
		})
	}
}
