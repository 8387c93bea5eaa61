package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/explain"
	"github.com/contactsync/contactsync/internal/terminal"
)

// oneReplica is a story of a replica that owns contacts/0, committed up to 10, with these events.
func oneReplica(events ...batcher.EventStatus) (*explain.Story, *app.Explanation) {
	e := &app.Explanation{Started: statusTime.Add(-time.Hour), Known: len(events) > 0, Partitions: []consumer.Partition{{Topic: "contacts", Partition: 0, State: consumer.Reading, Committed: 10}}}
	e.Events = events
	s := explain.New(statusTime, "st-1", "c1")
	s.Told("10.0.0.1:8080", e)
	return s, e
}

func TestExplainText_SaysWhatBecameOfEachEvent(t *testing.T) {
	t.Parallel()
	seven := int64(7)
	sent := &batcher.RequestStatus{Number: 812, At: statusTime.Add(-2 * time.Second), Answered: statusTime.Add(-time.Second), Rows: 34, Purpose: "retry", Kind: "unavailable", Status: 502, Detail: "502 Bad Gateway"}
	for name, test := range map[string]struct {
		event batcher.EventStatus
		want  string
	}{
		"waiting": {
			batcher.EventStatus{Position: "contacts/0@12", Kind: "update", Version: &seven, OccurredAt: statusTime, Recorded: statusTime, State: batcher.EventWaiting, WaitsFor: "backoff", Until: statusTime.Add(3 * time.Second), Ahead: 5, Sends: 2, Request: sent, MaybeApplied: true},
			"contacts/0@12: update, version 7, occurred 2026-03-01T12:00:00Z, recorded 2026-03-01T12:00:00Z\n" +
				"  waits: for its stream, whose last request failed, until 2026-03-01T12:00:03Z (in 3.0 s)\n  contacts of its stream that go before it: 5\n" +
				"  sent 2 times, the last time in request 812 at 2026-03-01T11:59:58Z (retry, contacts: 34): unavailable after 1.0 s, status 502, 502 Bad Gateway\n" +
				"  a request with it ended without a usable answer: it may have been applied\n  not committed: the offset is 10\n",
		},
		"in flight":           {batcher.EventStatus{Position: "contacts/0@12", State: batcher.EventInFlight, Sends: 1, Request: &batcher.RequestStatus{Number: 3, At: statusTime, Rows: 1, Purpose: "delivery"}}, "contacts/0@12\n  sent in request 3 at 2026-03-01T12:00:00Z (delivery, contacts: 1), which is not answered yet; attempt 1\n"},
		"merged":              {batcher.EventStatus{Position: "contacts/0@12", State: batcher.EventMerged, Into: "contacts/0@15"}, "  superseded before it was sent: it is part of contacts/0@15\n"},
		"delivered":           {batcher.EventStatus{Position: "contacts/0@9", State: batcher.EventDelivered, Request: &batcher.RequestStatus{Number: 3}}, "  accepted by the API in request 3, which is too long ago to be remembered\n  committed: the offset is 10\n"},
		"delivered ahead":     {batcher.EventStatus{Position: "contacts/0@12", State: batcher.EventDelivered}, "  not below the commit, which is at 10: an older event of the partition is not completed; that this one is, is kept with the commit\n"},
		"ended":               {batcher.EventStatus{Position: "contacts/0@9", State: batcher.EventEnded, Origin: "contacts/0@2"}, "contacts/0@9: a replay of contacts/0@2\n  completed without a request of this process"},
		"pending dead letter": {batcher.EventStatus{Position: "contacts/0@12", State: batcher.EventDeadLetter, WaitsFor: "dead_letter_topic", DeadLetter: &batcher.DeadLetterStatus{Reason: "invalid", Detail: "no id"}}, "  becomes a dead letter, which Kafka has not acknowledged: invalid\n  no id\n  not committed"},
		"dead letter":         {batcher.EventStatus{Position: "contacts/0@9", State: batcher.EventDeadLetter, DeadLetter: &batcher.DeadLetterStatus{Reason: "rejected", Status: 200, Attempts: 2, Record: "contacts/0@9", At: "dead/0@4"}}, "  dead letter: rejected, status 200, after 2 requests at dead/0@4\n  contactsync dlq show contacts/0@9\n  committed"},
		"not owned":           {batcher.EventStatus{Position: "contacts/1@9", State: batcher.EventDelivered}, "  whether it is committed is not known: the partition belongs to no replica that was asked\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := oneReplica(test.event)
			if text := explainText(s, contactsync.Commands{}, 0); !strings.Contains(text, test.want) || !strings.HasSuffix(text, "\nreplica 10.0.0.1:8080 owns contacts/0\n") {
				t.Errorf("it says\n%s\nwant\n%s", text, test.want)
			}
		})
	}
}

// A sentence that all events would repeat is there once.
func TestExplainText_SaysAReasonOnce(t *testing.T) {
	t.Parallel()
	for state, test := range map[batcher.EventState]struct{ each, once string }{
		explain.StateHandled: {"\n  accepted by the API", ": it is completed, and has no dead letter\n"},
		explain.StateUnread:  {"\n  waits to be read", ": the replica that owns its partition has not come to it\n"},
		explain.StateLeft:    {"\n  left in Kafka", ": what is on hold has its part of the window, and it is read again when its stream is no longer on hold, or in turn where only contacts of it are\n"},
		explain.StateOpen:    {"\n  not completed", ": ask the replica that owns its partition, by --admin\n"},
		batcher.EventEnded:   {"\n  completed without a request of this process", ": it is a delete, or an earlier owner of the partition had completed it\n"},
		batcher.EventWaiting: {"\n  waits: for the hold of its stream", ": unauthorized since 2026-03-01T12:00:00Z, probes refused: 0, the last status 401\n"},
		"delivered":          {"\n  not below the commit, which is at 10", ": an older event of the partition is not completed; that this one is, is kept with the commit\n"},
	} {
		var events []batcher.EventStatus
		for n := range 3 {
			events = append(events, batcher.EventStatus{Position: fmt.Sprint("contacts/0@", 12+n), Kind: "update", Account: "emea", State: state, WaitsFor: "hold"})
		}
		s, _ := oneReplica(events...)
		s.Holds = []batcher.HoldStatus{{Account: "emea", Kind: "unauthorized", Since: statusTime, Status: 401}}
		s.DeadLetterTopic = &explain.DeadLettersRead{}
		text := explainText(s, contactsync.Commands{}, 0)
		if each, once := strings.Count(text, test.each), strings.Count(text, test.once); each != 3 || once != 1 {
			t.Errorf("%s: said %d times, and why %d times:\n%s", state, each, once, text)
		}
	}
}

// Every reason to wait that the window and the gates have is told in words.
func TestExplainText_KnowsEveryReasonToWait(t *testing.T) {
	t.Parallel()
	for _, what := range batcher.AllWaits() {
		if waits[what] == "" {
			t.Errorf("%s is not told", what)
		}
	}
}

func TestExplainText_TellsOfHolds(t *testing.T) {
	t.Parallel()
	s, _ := oneReplica(batcher.EventStatus{Position: "contacts/0@12", Account: "emea", State: batcher.EventWaiting, WaitsFor: "hold", Until: statusTime.Add(time.Minute)})
	s.Holds = []batcher.HoldStatus{{Account: "other", Kind: "rejecting"}, {Account: "emea", Kind: "unauthorized", Since: statusTime, Probes: 4, Status: 401, Detail: "401 Unauthorized"}}
	s.Parked = []batcher.ParkedStatus{{Topic: "contacts", Partition: 3, Events: 12, Oldest: statusTime}}
	s.WaitUntil = statusTime.Add(time.Second)
	text := explainText(s, contactsync.Commands{}, 0)
	for _, want := range []string{
		"  waits: for the hold of its stream: unauthorized since 2026-03-01T12:00:00Z, probes refused: 4, the last status 401 (401 Unauthorized); it is tried again at 2026-03-01T12:01:00Z (in 60 s)\n",
		"12 events of the stream in contacts/3 are left to be read again, the oldest of 2026-03-01T12:00:00Z: the contact's may be among them\n",
		"what comes next of it waits until 2026-03-01T12:00:01Z\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
}

// Whatever a replica answers stays within its line and obeys nobody, and fits the terminal.
func TestExplainText_EscapesAndFits(t *testing.T) {
	t.Parallel()
	const evil = "x\x1b[31m\u202e\ny"
	s, e := oneReplica(batcher.EventStatus{
		Position: evil, Kind: evil, Origin: evil, State: batcher.EventDeadLetter, Into: evil, WaitsFor: evil,
		DeadLetter: &batcher.DeadLetterStatus{Reason: evil, Detail: evil, Record: evil, At: evil},
	}, batcher.EventStatus{Position: "contacts/0@1", State: evil}, batcher.EventStatus{Position: "contacts/0@2", State: batcher.EventWaiting, WaitsFor: evil, Request: &batcher.RequestStatus{At: statusTime, Purpose: evil, Kind: evil, Detail: evil}})
	e.Partitions = append(e.Partitions, consumer.Partition{Topic: evil, State: evil})
	e.Holds = []batcher.HoldStatus{{Kind: evil, Detail: evil}}
	e.Parked = []batcher.ParkedStatus{{Topic: evil}}
	s.Told(evil, e)
	s.Failed(evil, errors.New(evil))
	for _, width := range []int{0, 40, 80} {
		var out strings.Builder
		_, _ = terminal.NewWriter(&out).Write([]byte(explainText(s, contactsync.Commands{}, width)))
		if strings.ContainsAny(out.String(), "\x1b\u202e") || strings.Contains(out.String(), "\ny") {
			t.Errorf("it prints %q", out.String())
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > 0 && n > width && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%d columns where there are %d: %q", n, width, line)
			}
		}
	}
}

func TestExplain_AsksTheReplica(t *testing.T) {
	t.Parallel()
	const known = `{"known": true, "events": [{"position": "contacts/0@3", "state": "delivered"}], "partitions": [{"topic": "contacts", "partition": 0, "state": "reading", "committed": 5}]}`
	for _, test := range []struct {
		name   string
		args   []string
		status int
		answer string
		code   int
		want   string // in the output
		asked  string
	}{
		{"known", []string{"st-1", "c1"}, http.StatusOK, known, 0, "contacts/0@3\n  accepted by the API in a request\n  committed: the offset is 5\n", "GET /api/explain?contact=c1&stream=st-1"},
		{"unknown", []string{"st-1", "c1"}, http.StatusOK, `{"partitions": []}`, 0, "remembers nothing of the contact", "GET /api/explain?contact=c1&stream=st-1"},
		{"refused", []string{"st-1", "c1"}, http.StatusForbidden, "own machine only", 1, "did not answer: ", "GET /api/explain?contact=c1&stream=st-1"},
		{"of another kind", []string{"st-1", "c1"}, http.StatusOK, "ok", 1, "read what the replica at ", "GET /api/explain?contact=c1&stream=st-1"},
		{"no contact", []string{"st-1"}, 0, "", 2, "two arguments, STREAM and CONTACT", ""},
		{"a hostile contact", []string{"st-1", "c\x1b[2J"}, 0, "", 2, `"c\x1b[2J" is no id`, ""},
		{"a hostile stream", []string{"../st", "c"}, 0, "", 2, `"../st" is no id`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, output, question := asked(t, test.status, test.answer, []string{"explain"}, test.args)
			if code != test.code || !strings.Contains(output, test.want) || question != test.asked || strings.Contains(output, "\x1b") {
				t.Errorf("exit code %d, asked %q:\n%s", code, question, output)
			}
		})
	}
}
