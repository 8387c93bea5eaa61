package replay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
)

// simAPI is the API as the run sees it.
type simAPI struct{ *simRun }

func (r simAPI) RoundTrip(req *http.Request) (*http.Response, error) {
	w := r.w
	stream := strings.Split(req.URL.Path, "/")[5]
	var rows []struct {
		ID  string
		Seq int
	}
	text, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close(), json.Unmarshal(text, &rows)); err != nil {
		return nil, err
	}
	for _, row := range rows {
		r.sends(simKey{stream, row.ID}, row.Seq)
	}
	fails, after := r.request()
	if fails && !after {
		return nil, errors.New("the connection is cut")
	}
	status := 200
	defer func() { w.note("  answered %d, lost %v: %s", status, fails, text) }()
	if !r.quiet {
		status = pick(w, "status", 200, 200, 200, 200, 200, 200, 207, 400, 401, 403, 404, 413, 429, 500, 502)
	}
	applies := status/100 == 2 || status/100 == 5 && w.draw(2, "applied all the same") == 0
	good, bad := []string{}, []string{}
	for _, row := range rows {
		switch {
		case !applies:
		case !r.quiet && w.draw(6, "row refused") == 0:
			bad = append(bad, fmt.Sprintf(`{"id":%q,"reason":"no"}`, row.ID))
		default:
			w.applied(simKey{stream, row.ID}, row.Seq, true, r.simRun)
			if status == 207 && w.draw(3, "not named") == 0 {
				continue
			}
			good = append(good, fmt.Sprintf(`{"id":%q}`, row.ID))
			if l := r.own[row.Seq]; l != nil && !fails && status/100 == 2 {
				w.sent[l.Record.Position]++
			}
		}
	}
	if fails {
		return nil, errors.New("the answer is lost")
	}
	answer := ""
	if status/100 == 2 {
		answer = fmt.Sprintf(`{"totalRequested":%d,"successful":%d,"failed":%d,"successfulRecords":[%s],"failedRecords":[%s]}`,
			len(rows), len(good), len(bad), strings.Join(good, ","), strings.Join(bad, ","))
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), Request: req}, nil
}

// sends checks a row that is about to be sent to the API.
func (r *simRun) sends(key simKey, seq int) {
	w := r.w
	if seq == 0 || !slices.Contains(w.events[seq].keys, key) {
		w.t.Fatalf("(a) contact %v is sent seq %d", key, seq)
	}
	if l := r.own[seq]; l != nil && r.says(l) != "done" {
		if at := l.Record.Position; r.says(l) != "begun" && !r.pays(key) || w.sent[at] > 0 && r.before[at] != "begun" {
			w.t.Fatalf("(c) letter %v is sent, the progress file says %q of it and said %q at the start, and it was delivered %d times", at, r.says(l), r.before[at], w.sent[at])
		}
		r.isNewest(seq, l.Record.Position)
		return
	}
	w.newerThan(key, seq, func(n int, e *simEvent, order int) {
		if order > 0 && e.kind == event.Update && w.visible(e, r.seen) && !w.inCircles(key) && !r.givesWay(e, &w.events[seq]) {
			w.t.Fatalf("(d) contact %v: owed, and seq %d is sent although seq %d is newer", key, seq, n)
		}
	})
}

// pays reports whether the contact is owed for the sake of another letter.
func (r *simRun) pays(key simKey) bool {
	return slices.ContainsFunc(r.chosen, func(l *deadletter.Entry) bool {
		return l.Stream == key.stream && l.Contact == key.id && r.says(l) == "begun"
	})
}

// says returns the last word of the progress file about a letter.
func (r *simRun) says(l *deadletter.Entry) string {
	text, err := os.ReadFile(r.w.progress)
	if err != nil {
		return ""
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		if word, at, _ := strings.Cut(strings.TrimSpace(line), " "); at == l.Record.String() {
			last = word
		}
	}
	return last
}

// settles checks a contact that the run has given a state to the API, and is done with:
// there is no newer update where the log was looked at, or it is owed.
func (r *simRun) settles(key simKey) {
	w := r.w
	s := w.state[key]
	if s.by != r || r.pays(key) {
		return
	}
	w.newerThan(key, s.seq, func(n int, e *simEvent, order int) {
		if order <= 0 || e.kind != event.Update || !w.visible(e, r.seen) || r.unseen(e, w.events[s.seq].at) || r.givesWay(e, &w.events[s.seq]) {
			return
		}
		gone := w.inCircles(key) // or a delete came after it
		w.newerThan(key, n, func(_ int, e *simEvent, _ int) { gone = gone || e.kind != event.Update })
		if !gone {
			w.t.Fatalf("(d) contact %v: the run has left seq %d at the API, not %d, and it is not owed", key, s.seq, n)
		}
	})
}

// owes checks that the progress file holds each contact of which the API has an
// older state after a newer one.
func (r *simRun) owes(killed bool) {
	w := r.w
	for key, s := range w.state {
		if s.by != r {
			continue
		}
		owed := r.pays(key)
		// "Where the newest of a contact is a delete or a tombstone, nothing more is sent".
		w.newerThan(key, s.seq, func(_ int, e *simEvent, _ int) { owed = owed || e.kind != event.Update })
		for _, before := range w.history[key] {
			e := &w.events[before]
			if e.order(&w.events[s.seq]) <= 0 || owed || w.cyclic(key, s.seq, before) || !w.visible(e, r.seen) || r.unseen(e, w.events[s.seq].at) || r.givesWay(e, &w.events[s.seq]) {
				continue
			}
			w.t.Fatalf("(d) contact %v: the API has seq %d after seq %d, killed %v, and it is not owed", key, s.seq, before, killed)
		}
	}
}
