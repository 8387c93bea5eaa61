//go:build proof

package proof

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/stub"
)

// search is the search for the bad rows of one refused request.
type search struct {
	rows   map[string]bool // what the request carried
	open   map[string]bool // of these, the ones that no answer has settled yet
	poison int
	calls  int
}

// most is what finding the bad rows may cost: for each, two calls whenever the
// rows halve.
func (s *search) most() int { return s.poison * 2 * bits.Len(uint(len(s.rows)-1)) }

// searches finds them in the log of the stub. A search begins with a request that was
// refused as a whole and belongs to no search; every later call of the stream that
// carries nothing but rows of it belongs to it, healthy halves included, until
// each row was answered for: in an answer about rows, or refused alone. So what
// is counted is more rather than less than what the search for the row costs. A row that
// was answered for and is sent once more searches for nothing.
func searches(calls []stub.Call) (all []*search) {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b stub.Call) int { return cmp.Compare(a.Received, b.Received) })
	open := map[string][]*search{} // by stream
	for _, c := range calls {
		whole := slices.ContainsFunc(refusedRows, func(q refusedRow) bool { return q.whole() && q.prefix == c.Rule })
		i := slices.IndexFunc(open[c.Stream], func(s *search) bool {
			return slices.ContainsFunc(c.Rows, func(r stub.Row) bool { return s.open[r.ID] }) && !slices.ContainsFunc(c.Rows, func(r stub.Row) bool { return !s.rows[r.ID] })
		})
		if i >= 0 {
			s := open[c.Stream][i]
			s.calls++
			if !whole || len(c.Rows) == 1 {
				for _, r := range c.Rows {
					delete(s.open, r.ID)
				}
			}
			if len(s.open) == 0 {
				open[c.Stream] = slices.Delete(open[c.Stream], i, i+1)
			}
			continue
		}
		if !whole {
			continue
		}
		s := &search{rows: map[string]bool{}, open: map[string]bool{}}
		for _, r := range c.Rows {
			s.rows[r.ID], s.open[r.ID] = true, true
			if slices.ContainsFunc(refusedRows, func(q refusedRow) bool { return q.whole() && strings.HasPrefix(r.ID, q.prefix) }) {
				s.poison++
			}
		}
		all = append(all, s)
		if len(s.rows) > 1 {
			open[c.Stream] = append(open[c.Stream], s)
		}
	}
	return all
}

// judgeIsolation checks what finding the bad rows has cost.
func (r *poisonRun) judgeIsolation(f *figures) {
	rows, poison, calls, over := 0, 0, 0, 0
	worst := &search{}
	all := searches(r.host.Calls())
	for _, s := range all {
		rows, poison, calls = rows+len(s.rows), poison+s.poison, calls+s.calls
		if s.calls > s.most() {
			over++
		}
		if s.calls > worst.calls {
			worst = s
		}
	}
	f.line("requests refused as a whole", 0, len(all), fmt.Sprintf("with %d rows, %d of them bad", rows, poison))
	f.check("  calls to find the bad rows", over == 0 && poison > 0, 0, calls,
		fmt.Sprintf("at most 2·log2(rows) a bad row; the most: %d of %d for %d rows, %d of them bad", worst.calls, worst.most(), len(worst.rows), worst.poison))
}

// sent is a call for one stream with rows a, b, c, ...
func sent(at int64, rule, rows string) stub.Call {
	c := stub.Call{Stream: "s", Received: at, Rule: rule}
	for _, r := range rows {
		id := string(r)
		if r == 'X' || r == 'Y' {
			id = fmt.Sprintf("e400-%c", r)
		}
		c.Rows = append(c.Rows, stub.Row{ID: id})
	}
	return c
}

func TestPoison_CountsTheSearchForBadRows(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		calls []stub.Call
		want  string // for each: calls/most
	}{
		{"nothing refused", []stub.Call{sent(1, "", "abcd")}, ""},
		{"refused alone", []stub.Call{sent(1, "e400", "X"), sent(2, "", "a")}, "0/0"},
		{"halved", []stub.Call{
			sent(1, "e400", "abcX"), sent(2, "", "ab"), sent(3, "", "efgh"), sent(4, "", "c"), sent(5, "e400", "X"), sent(6, "", "abc"),
		}, "3/4"},
		{"a healthy half comes last", []stub.Call{
			sent(1, "e400", "Xabc"), sent(2, "e400", "Xa"), sent(3, "e400", "X"), sent(5, "", "bc"), sent(4, "", "a"), sent(6, "", "b"),
		}, "4/4"},
		{"two bad rows", []stub.Call{
			sent(1, "e400", "XYab"), sent(2, "e400", "XY"), sent(3, "e400", "X"), sent(4, "e400", "Y"), sent(5, "", "ab"),
		}, "4/8"},
		{"one by one costs too much", []stub.Call{
			sent(1, "e400", "abcdefX"), sent(2, "", "a"), sent(3, "", "b"), sent(4, "", "c"), sent(5, "", "d"), sent(6, "", "e"),
			sent(7, "", "f"), sent(8, "e400", "X"),
		}, "7/6"},
		{"a row that was answered for comes once more", []stub.Call{
			sent(1, "e400", "abcX"), sent(2, "", "ab"), sent(3, "", "b"), sent(4, "", "c"), sent(5, "e400", "X"),
		}, "3/4"},
		{"the same again and again", []stub.Call{
			sent(1, "e400", "aX"), sent(2, "e400", "aX"), sent(3, "e400", "aX"), sent(4, "", "a"), sent(5, "e400", "X"),
		}, "4/2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, s := range searches(tt.calls) {
				got = append(got, fmt.Sprintf("%d/%d", s.calls, s.most()))
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}
