package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

const topic = "t"

var part = contactsync.TopicPartition{Topic: topic, Partition: 0}

// history is a run without faults, with something of everything:
//
//	offset  0   1   2   3            4        5          6       7        8   9
//	        a1  a2  b1  a3 (poison)  bad1     c1 (del.)  d1      d2 (ab.) a4  b2 (no id)
//
// and a2 supersedes a1. Contact b's poison is merely invalid.
func history() Input {
	contacts := []feed.Contact{{Stream: "s", ID: "a"}, {Stream: "s", ID: "b"}, {Stream: "s", ID: "bad"}, {Stream: "u", ID: "c"}, {Stream: "u", ID: "d"}}
	m := &feed.Manifest{Topics: []string{topic}, Contacts: contacts, Records: []feed.Record{
		{Contact: 0, Seq: 1},
		{Contact: 0, Seq: 2},
		{Contact: 1, Seq: 1},
		{Contact: 0, Seq: 3, Class: feed.Undecodable},
		{Contact: 2, Seq: 1, Class: feed.Rejected},
		{Contact: 3, Seq: 1, Class: feed.Delete},
		{Contact: 4, Seq: 1},
		{Contact: 4, Seq: 2, Class: feed.Aborted},
		{Contact: 0, Seq: 4},
		{Contact: 1, Seq: 2, Class: feed.Invalid},
	}}
	for i := range m.Records {
		m.Records[i].Offset = int64(i)
	}
	return Input{
		Manifest: m,
		Calls: []stub.Call{
			call(1, "s", 0, 10, row("a", 2), row("b", 1), stub.Row{ID: "bad", Seq: 1}),
			call(2, "u", 5, 15, row("d", 1)),
			call(3, "s", 20, 30, row("a", 4)),
		},
		Stats:     &stub.Stats{},
		Committed: map[contactsync.TopicPartition]int64{part: 10},
		DeadLetters: []DeadLetter{
			deadLetter(3, contactsync.ReasonUndecodable), deadLetter(4, contactsync.ReasonRejected), deadLetter(9, contactsync.ReasonInvalid),
		},
		MaxRows: 100,
	}
}

func call(order int64, stream string, received, done int64, rows ...stub.Row) stub.Call {
	return stub.Call{Order: order, Stream: stream, Status: 200, Received: received, Done: done, Rows: rows}
}

func row(id string, seq int64) stub.Row { return stub.Row{ID: id, Seq: seq, Applied: true} }

func at(offset int64) contactsync.Position {
	return contactsync.Position{TopicPartition: part, Offset: offset}
}

func deadLetter(offset int64, reason contactsync.Reason, older ...int64) DeadLetter {
	l := DeadLetter{At: at(offset), Reason: reason, Positions: []contactsync.Position{at(offset)}}
	for _, o := range older {
		l.Positions = append(l.Positions, at(o))
	}
	return l
}

func TestRun_AcceptsACorrectHistory(t *testing.T) {
	t.Parallel()
	r := Run(history())
	if !r.OK() {
		t.Fatal(r)
	}
	if r.Calls != 3 || r.Rows != 5 || r.Delivered != 5 || r.Superseded != 1 || r.Contacts != 3 || r.DeadLetters != 3 || r.Floor != 2 || r.CallsPerFloor != 1.5 {
		t.Errorf("figures: %+v", r)
	}
	if text := r.String(); strings.Contains(text, "VIOLATION") || !strings.Contains(text, "calls / floor") {
		t.Errorf("as text:\n%s", text)
	}
}

// Every planted fault must be found, and found as what it is.
func TestRun_FindsPlantedFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		plant func(*Input)
		count func(Report) int
		text  string
	}{
		{"lost event", func(in *Input) { in.Calls = slices.Delete(in.Calls, 1, 2) }, func(r Report) int { return r.Lost }, "I1: t/0@6 has not ended"},
		{"lost row", func(in *Input) { in.Calls[0].Rows[1].Applied = false }, func(r Report) int { return r.Lost }, "I1: t/0@2"},
		{"commit ahead", func(in *Input) { in.Running, in.Calls[0].Rows[1].Applied = true, false }, func(r Report) int { return r.CommitAhead }, "I2: t/0@2 is below"},
		{"commit ahead of a dead letter", func(in *Input) { in.Running, in.DeadLetters = true, in.DeadLetters[1:] }, func(r Report) int { return r.CommitAhead }, "I2: t/0@3 is below"},
		{"not committed", func(in *Input) { in.Committed[part] = 9 }, func(r Report) int { return r.Uncommitted }, "t/0@9 has not been committed"},
		{"nothing committed", func(in *Input) { in.Committed = map[contactsync.TopicPartition]int64{} }, func(r Report) int { return r.Uncommitted }, "t/0@0 has not been committed"},
		{"older after newer", func(in *Input) { in.Calls = append(in.Calls, call(4, "s", 40, 50, row("a", 2))) }, func(r Report) int { return r.OutOfOrder }, "I3: stream s, contact a: seq 2 applied after 4"},
		{"older left in place", func(in *Input) {
			in.MaxBackwards = 1
			in.Calls = append(in.Calls, call(4, "s", 40, 50, row("a", 2)))
		}, func(r Report) int { return r.Stale }, "contact a ends with seq 2 although 4"},
		{"log order is not apply order", func(in *Input) { in.Calls[0].Order, in.Calls[2].Order = 3, 1 }, func(r Report) int { return r.OutOfOrder }, "I3: stream s, contact a"},
		{"overlap", func(in *Input) { in.Calls[2].Received = 9 }, func(r Report) int { return r.Overlaps }, "I3: stream s, contact a is in two calls"},
		{"overlap with a refused call", func(in *Input) {
			in.Calls = append(in.Calls, stub.Call{Stream: "s", Status: 429, Received: 25, Done: 26, Rows: []stub.Row{{ID: "a", Seq: 4}}})
		}, func(r Report) int { return r.Overlaps }, "I3: stream s, contact a is in two calls"},
		{"duplicate", func(in *Input) { in.Calls = append(in.Calls, call(4, "u", 40, 50, row("d", 1))) }, func(r Report) int { return r.Duplicates }, "I10: 1 states were applied again"},
		{"aborted sent", func(in *Input) { in.Calls = append(in.Calls, call(4, "u", 40, 50, row("d", 2))) }, func(r Report) int { return r.AbortedSent }, "aborted event sent: stream u, contact d"},
		{"aborted sent but not applied", func(in *Input) {
			in.Calls = append(in.Calls, stub.Call{Stream: "u", Status: 503, Received: 40, Done: 50, Rows: []stub.Row{{ID: "d", Seq: 2}}})
		}, func(r Report) int { return r.AbortedSent }, "aborted event sent"},
		{"poison sent", func(in *Input) { in.Calls[2].Rows[0].Seq = 3 }, func(r Report) int { return r.UnsendableSent }, "undecodable event sent"},
		{"delete sent", func(in *Input) { in.Calls = append(in.Calls, call(4, "u", 40, 50, row("c", 1))) }, func(r Report) int { return r.UnsendableSent }, "delete event sent"},
		{"contact in another stream", func(in *Input) { in.Calls = append(in.Calls, call(4, "u", 40, 50, row("a", 1))) }, func(r Report) int { return r.UnknownSent }, "I12: the API got a state that was not produced"},
		{"seq from nowhere", func(in *Input) { in.Calls = append(in.Calls, call(4, "s", 40, 50, row("a", 5))) }, func(r Report) int { return r.UnknownSent }, "seq 5"},
		{"missing dead letter", func(in *Input) { in.DeadLetters = in.DeadLetters[1:] }, func(r Report) int { return r.Lost }, "I1: t/0@3 has not ended: class undecodable"},
		{"missing dead letter of a rejected row", func(in *Input) { in.DeadLetters = slices.Delete(in.DeadLetters, 1, 2) }, func(r Report) int { return r.Lost }, "class rejected"},
		{"dead letter for the wrong reason", func(in *Input) { in.DeadLetters[0].Reason = contactsync.ReasonInvalid }, func(r Report) int { return r.WrongDeadLetters }, `class undecodable and is in the dead-letter topic as "invalid"`},
		{"outage taken for poison", func(in *Input) { in.DeadLetters = append(in.DeadLetters, deadLetter(8, contactsync.ReasonUnresolved)) }, func(r Report) int { return r.GoodDeadLettered }, "I6: t/0@8 is a good event"},
		{"dead letter of a delete", func(in *Input) { in.DeadLetters = append(in.DeadLetters, deadLetter(5, contactsync.ReasonInvalid)) }, func(r Report) int { return r.WrongDeadLetters }, "class delete"},
		{"dead letter of nothing", func(in *Input) { in.DeadLetters = append(in.DeadLetters, deadLetter(77, contactsync.ReasonInvalid)) }, func(r Report) int { return r.WrongDeadLetters }, "nothing was produced there"},
		{"dead letter twice", func(in *Input) { in.DeadLetters = append(in.DeadLetters, in.DeadLetters[0]) }, func(r Report) int { return r.Repeated }, "I10: t/0@3 is in the dead-letter topic 2 times"},
		{"dead letter for another contact", func(in *Input) { in.DeadLetters[1].Positions = append(in.DeadLetters[1].Positions, at(2)) }, func(r Report) int { return r.WrongDeadLetters }, "it cannot end t/0@2"},
		{"dead letter for a newer event", func(in *Input) {
			in.AllowReasons = []contactsync.Reason{contactsync.ReasonRejected}
			in.DeadLetters = append(in.DeadLetters, deadLetter(0, contactsync.ReasonRejected, 1))
		}, func(r Report) int { return r.WrongDeadLetters }, "it cannot end t/0@1"},
		{"dead letter without itself", func(in *Input) { in.DeadLetters[0].Positions = nil }, func(r Report) int { return r.WrongDeadLetters }, "do not name the event itself"},
		{"rate limit", func(in *Input) { in.Stats.RateRefused = 2 }, func(r Report) int { return r.Refused }, "I7: the API refused 2 calls"},
		{"cross-talk", func(in *Input) { in.Stats.CrossTalk = 1 }, func(r Report) int { return r.CrossTalk }, "I12: 1 calls"},
		{"named twice", func(in *Input) { in.Stats.NamedTwice = 1 }, func(r Report) int { return r.NamedTwice }, "same call"},
		{"unreadable", func(in *Input) { in.Stats.Unreadable = 1 }, func(r Report) int { return r.Unreadable }, "no array"},
		{"log cut off", func(in *Input) { in.Stats.Unlogged = 1 }, func(Report) int { return 1 }, "not complete"},
		{"log broken", func(in *Input) { in.Stats.LogBroken = true }, func(Report) int { return 1 }, "not complete"},
		{"from state: lost", func(in *Input) { withoutLog(in); delete(in.State["u"], "d") }, func(r Report) int { return r.Lost }, "I1: t/0@6"},
		{"from state: old", func(in *Input) { withoutLog(in); in.State["s"]["a"] = 2 }, func(r Report) int { return r.Lost }, "I1: t/0@8"},
		{"from state: aborted", func(in *Input) { withoutLog(in); in.State["u"]["d"] = 2 }, func(r Report) int { return r.UnsendableSent }, "aborted event applied"},
		{"from state: unknown", func(in *Input) { withoutLog(in); in.State["u"]["x"] = 2 }, func(r Report) int { return r.UnknownSent }, "contact x"},
		{"from counters: order", func(in *Input) { withoutLog(in); in.Stats.OutOfOrder = 3 }, func(r Report) int { return r.OutOfOrder }, "3 older states"},
		{"from counters: overlap", func(in *Input) { withoutLog(in); in.Stats.Overlaps = 1 }, func(r Report) int { return r.Overlaps }, "1 contacts in two calls"},
		{"from counters: duplicate", func(in *Input) { withoutLog(in); in.Stats.Duplicates = 1 }, func(r Report) int { return r.Duplicates }, "I10"},
		{"neither log nor counters", func(in *Input) { withoutLog(in); in.Stats = nil }, func(Report) int { return 1 }, "order is not checked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := history()
			tt.plant(&in)
			r := Run(in)
			if r.OK() || tt.count(r) == 0 || !strings.Contains(r.String(), tt.text) {
				t.Errorf("not found as %q:\n%s", tt.text, r)
			}
		})
	}
}

// withoutLog takes the stub's state and counters in place of its log.
func withoutLog(in *Input) {
	in.Calls = nil
	in.State = map[string]map[string]int64{"s": {"a": 4, "b": 1}, "u": {"d": 1}}
	in.Stats = &stub.Stats{Calls: 3, Rows: 5, AppliedRows: 4}
}

// What the faults of a run explain is no violation.
func TestRun_AllowsWhatIsExplained(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*Input)
	}{
		{"from state and counters", withoutLog},
		{"without committed offsets", func(in *Input) { in.Committed = nil }},
		{"running: the last events have not ended", func(in *Input) {
			in.Running, in.Calls, in.Committed[part], in.DeadLetters = true, in.Calls[:2], 8, in.DeadLetters[:2]
		}},
		{"duplicates within the bound", func(in *Input) {
			in.MaxDuplicates = 1
			in.Calls = append(in.Calls, call(4, "u", 40, 50, row("d", 1)))
		}},
		{"dead letter again within the bound", func(in *Input) { in.MaxRepeated, in.DeadLetters = 1, append(in.DeadLetters, in.DeadLetters[0]) }},
		{"backwards within the bound, and put right", func(in *Input) {
			in.MaxBackwards, in.MaxDuplicates = 1, 1
			in.Calls = append(in.Calls, call(4, "s", 40, 50, row("a", 2)), call(5, "s", 60, 70, row("a", 4)))
		}},
		{"applied late", func(in *Input) {
			late := call(4, "s", 25, 25, row("a", 2))
			late.Late = true
			in.Calls = append(in.Calls, late)
		}},
		{"applied late, although the stub did not see that the client had gone", func(in *Input) {
			in.GivenUp = map[feed.Contact]bool{{Stream: "s", ID: "a"}: true}
			in.MaxDuplicates = 1
			in.Calls = append(in.Calls, call(4, "s", 40, 50, row("a", 2)), call(5, "s", 60, 70, row("a", 4)))
		}},
		{"dead letter of a good event for an allowed reason", func(in *Input) {
			in.AllowReasons = []contactsync.Reason{contactsync.ReasonUnresolved}
			in.Calls = slices.Delete(in.Calls, 1, 2)
			in.DeadLetters = append(in.DeadLetters, deadLetter(6, contactsync.ReasonUnresolved))
		}},
		{"dead letter that ends older events too", func(in *Input) {
			in.AllowReasons = []contactsync.Reason{contactsync.ReasonRejected}
			in.Calls = []stub.Call{call(1, "s", 0, 10, row("b", 1)), in.Calls[1]}
			in.DeadLetters = append(in.DeadLetters, deadLetter(8, contactsync.ReasonRejected, 0, 1))
		}},
		{"dead letter that does not list all", func(in *Input) {
			in.AllowReasons = []contactsync.Reason{contactsync.ReasonRejected}
			in.Calls = []stub.Call{call(1, "s", 0, 10, row("b", 1)), in.Calls[1]}
			l := deadLetter(8, contactsync.ReasonRejected)
			l.Unlisted = 2
			in.DeadLetters = append(in.DeadLetters, l)
		}},
		{"a delete ends what came before it", func(in *Input) {
			in.Manifest.Records[7].Class = feed.Tombstone // of contact d, whose state was not sent
			in.Calls = slices.Delete(in.Calls, 1, 2)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := history()
			tt.change(&in)
			if r := Run(in); !r.OK() {
				t.Error(r)
			}
		})
	}
}

func TestRun_DescribesTheFirstFewOnly(t *testing.T) {
	t.Parallel()
	in := history()
	in.Calls, in.DeadLetters = []stub.Call{}, nil
	r := Run(in)
	if r.Lost != 8 || len(r.Violations) != examples+examples { // lost, and committed ahead
		t.Errorf("%d lost, %d violations described:\n%s", r.Lost, len(r.Violations), r)
	}
}
