package explain

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
)

var contacts = contactsync.TopicPartition{Topic: "contacts"}

func at(offset int64) contactsync.Position {
	return contactsync.Position{TopicPartition: contacts, Offset: offset}
}

// logged is an event as it is read from the topic.
func logged(offset int64, kind event.Kind, version int64) Event {
	ev := event.Event{Kind: kind, Record: contactsync.Record{Position: at(offset), Time: noon.Add(time.Duration(offset) * time.Second)}}
	ev.Contact.Version, ev.Contact.HasVersion = version, version > 0
	return eventOf(&ev)
}

// beyond says that the events at 10 and 12 are open behind the commit at 10, those at 11 and 13 have
// ended, the latter as a dead letter, and nothing of what follows.
func beyond(t *testing.T) commit {
	t.Helper()
	tracker := progress.NewTracker()
	if !tracker.Opened([]int64{10, 11, 12, 13}) {
		t.Fatal("refused")
	}
	claim := contactsync.Claim{TopicPartition: contacts}
	tracker.Done([]contactsync.Ended{{Claim: claim, Offset: 11}, {Claim: claim, Offset: 13, SetAside: true}})
	c := tracker.ToCommit(100)
	return commit{c.Offset, &c.Ahead}
}

func TestStory_JudgesByTheCommit(t *testing.T) {
	t.Parallel()
	owned := func(next int64) *app.Explanation {
		return &app.Explanation{Partitions: []consumer.Partition{{Topic: "contacts", Committed: 10, Next: next}}}
	}
	parked := owned(20)
	parked.Parked = []batcher.ParkedStatus{{Topic: "contacts", Partition: 0, Events: 3}}
	elsewhere := owned(20)
	elsewhere.Parked = []batcher.ParkedStatus{{Topic: "contacts", Partition: 1, Events: 3}}
	for name, test := range map[string]struct {
		replica *app.Explanation
		commit  *commit
		event   Event
		want    batcher.EventState
		below   bool
	}{
		"below the commit":              {nil, new(beyond(t)), logged(9, event.Update, 0), StateHandled, true},
		"a delete below it":             {nil, new(beyond(t)), logged(9, event.Delete, 0), StateSkipped, true},
		"a tombstone below it":          {nil, new(beyond(t)), logged(9, event.Tombstone, 0), StateSkipped, true},
		"open":                          {nil, new(beyond(t)), logged(12, event.Update, 0), StateOpen, false},
		"ended beyond it":               {nil, new(beyond(t)), logged(11, event.Update, 0), StateHandled, false},
		"beyond what the commit tells":  {nil, new(beyond(t)), logged(14, event.Update, 0), StateOpen, false},
		"nothing else told":             {nil, &commit{offset: 10}, logged(11, event.Update, 0), StateOpen, false},
		"nothing committed":             {nil, &commit{offset: kafka.NoOffset}, logged(0, event.Update, 0), StateOpen, false},
		"what is committed unknown":     {nil, nil, logged(9, event.Update, 0), StateUnknown, false},
		"not read by the owner":         {owned(12), new(beyond(t)), logged(12, event.Update, 0), StateUnread, false},
		"read by the owner":             {owned(13), new(beyond(t)), logged(12, event.Update, 0), StateOpen, false},
		"left by a hold":                {parked, new(beyond(t)), logged(12, event.Update, 0), StateLeft, false},
		"left in another partition":     {elsewhere, new(beyond(t)), logged(12, event.Update, 0), StateOpen, false},
		"completed, and others left":    {parked, new(beyond(t)), logged(11, event.Update, 0), StateHandled, false},
		"a tombstone to be read again":  {parked, new(beyond(t)), logged(12, event.Tombstone, 0), StateLeft, false},
		"what could not be sent at all": {nil, new(beyond(t)), logged(9, event.Broken, 0), StateHandled, true},
	} {
		s := New(noon, "st", "c")
		if test.replica != nil {
			s.Told("replica", test.replica)
		}
		s.read(&test.event)
		commits := map[contactsync.TopicPartition]commit{}
		if test.commit != nil {
			commits[contacts] = *test.commit
		}
		s.judge(commits)
		e := s.Events[0]
		if e.State != test.want || test.commit != nil && (e.Committed == nil || *e.Committed != test.below || e.Commit != test.commit.offset) || test.commit == nil && e.Committed != nil {
			t.Errorf("%s: %s, committed %v of %d", name, e.State, e.Committed, e.Commit)
		}
	}
}

// What a replica knows is left as it is, and what the log says of the event is added.
func TestStory_ReplicasKnowMoreThanTheCommit(t *testing.T) {
	t.Parallel()
	s := New(noon, "st", "c")
	s.Told("replica", told(0, 10, batcher.EventStatus{Position: "contacts/0@12", State: batcher.EventWaiting}, batcher.EventStatus{Position: "contacts/0@11", State: batcher.EventMerged, Into: "contacts/0@12"}))
	for _, offset := range []int64{11, 12} {
		e := logged(offset, event.Update, offset)
		s.read(&e)
	}
	s.judge(map[contactsync.TopicPartition]commit{contacts: {offset: 50}})
	s.Told("another", told(1, 0, batcher.EventStatus{Position: "contacts/0@60", State: batcher.EventEnded}, batcher.EventStatus{Position: "contacts/0@61", State: batcher.EventEnded}, batcher.EventStatus{Position: "contacts/0@62", State: batcher.EventEnded}))
	for offset, kind := range map[int64]event.Kind{60: event.Update, 61: event.Tombstone} {
		e := logged(offset, kind, 0)
		s.read(&e)
	}
	s.judge(map[contactsync.TopicPartition]commit{contacts: {offset: 50}})
	for i, want := range []batcher.EventState{StateHandled, StateSkipped, batcher.EventEnded} { // beyond the commit, and completed nevertheless
		if e := s.Events[i+2]; e.State != want {
			t.Errorf("%s: %s, want %s", e.Position, e.State, want)
		}
	}
	for i, want := range []batcher.EventState{batcher.EventMerged, batcher.EventWaiting} {
		if e := s.Events[i]; e.State != want || *e.Version != int64(i+11) || e.Commit != 10 || *e.Committed || e.Kind != "update" {
			t.Errorf("%+v", e)
		}
	}
}

func TestStory_FindsWhatWasSupersededOrStale(t *testing.T) {
	t.Parallel()
	s := New(noon, "st", "c")
	s.Told("replica", told(0, 9, batcher.EventStatus{Position: "contacts/0@8", State: batcher.EventDelivered}))
	for _, e := range []Event{
		logged(0, event.Update, 5), logged(1, event.Update, 3), logged(2, event.Update, 6), // superseded, stale, superseded
		logged(3, event.Delete, 0), logged(4, event.Update, 1), // a new contact begins to count
		logged(5, event.Update, 9), logged(6, event.Update, 2), // a dead letter, which has superseded nothing
		logged(8, event.Update, 3), logged(9, event.Update, 1), // accepted, and one that is not read yet
	} {
		s.read(&e)
	}
	s.setAside(&deadletter.Entry{DeadLetter: contactsync.DeadLetter{Record: contactsync.Record{Position: at(5)}, Positions: []contactsync.Position{at(5)}, Reason: contactsync.ReasonRejected}, At: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "dead"}, Offset: 4}})
	s.sort()
	s.judge(map[contactsync.TopicPartition]commit{contacts: {offset: 9}})
	want := map[int64]string{
		0: "handled contacts/0@2", 1: "stale contacts/0@0", 2: "handled contacts/0@4", 3: "skipped ", 4: "handled contacts/0@6", 5: "dead_letter ", 6: "handled contacts/0@8",
		8: "delivered ", 9: "unread ",
	}
	for _, e := range s.Events {
		if got := string(e.State) + " " + e.Into; got != want[e.at.Offset] {
			t.Errorf("%s: %s, want %s", e.Position, got, want[e.at.Offset])
		}
	}
	if d := s.find(at(5)).DeadLetter; d.At != "dead/0@4" || d.Record != "contacts/0@5" || d.Reason != "rejected" {
		t.Errorf("dead letter: %+v", d)
	}
}

// A dead letter ends the events that were merged into its own, and is told where the log has
// none of them any more. What is done with an event afterwards is younger.
func TestStory_DeadLetters(t *testing.T) {
	t.Parallel()
	s := New(noon, "st", "c")
	s.Told("replica", told(0, 9, batcher.EventStatus{Position: "contacts/0@2", State: batcher.EventEnded}, batcher.EventStatus{Position: "contacts/0@7", State: batcher.EventWaiting}))
	letter := func(positions ...int64) *deadletter.Entry {
		e := &deadletter.Entry{}
		for _, p := range positions {
			e.Positions = append(e.Positions, at(p))
			e.Record.Position = at(p)
		}
		return e
	}
	e := logged(1, event.Update, 0)
	s.read(&e)
	s.setAside(letter(1, 2))
	s.setAside(letter(4))
	s.setAside(letter(7))
	s.setAside(&deadletter.Entry{DeadLetter: contactsync.DeadLetter{Record: contactsync.Record{Position: at(8)}}}) // without its positions
	s.sort()
	want := map[int64]string{1: "dead_letter contacts/0@2", 2: "dead_letter ", 4: "dead_letter ", 7: "waiting ", 8: "dead_letter "}
	if len(s.Events) != len(want) {
		t.Errorf("%d events", len(s.Events))
	}
	for _, e := range s.Events {
		if got := string(e.State) + " " + e.Into; got != want[e.at.Offset] {
			t.Errorf("%s: %s, want %s", e.Position, got, want[e.at.Offset])
		}
	}
}

// Of a contact with many events the newest are kept, and memory for no more.
func TestReading_KeepsTheNewestEventsOfTheContact(t *testing.T) {
	t.Parallel()
	decoder, err := event.NewDecoder(event.DefaultConfig(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := New(noon, "st", "6964AF60450340957C61A2B3")
	r := &reading{decoder: decoder, story: s, looked: &Looked{}, most: 3}
	record := func(offset int64, key, value string) {
		rec := contactsync.Record{Position: at(offset), Time: noon.Add(-time.Duration(offset)), Key: []byte(key)}
		if value != "" {
			rec.Value = []byte(value)
		}
		r.record(rec)
		if len(r.found) > 2*r.most {
			t.Fatalf("%d events are kept", len(r.found))
		}
	}
	update := func(stream, id string) string {
		return `{"streamId":"` + stream + `","op":"delete","contact":{"id":"` + id + `"}}`
	}
	for i := range int64(10) {
		record(i, "", update("st", "6964af60450340957c61a2b3"))
	}
	record(10, "", update("other", "6964af60450340957c61a2b3"))
	record(11, "", update("st", "7964af60450340957c61a2b3"))
	record(12, "", "{")
	record(13, "", `{"streamId":"st","contact":{}}`)
	record(14, "6964af60450340957c61a2b3", "")
	record(15, "other/6964af60450340957c61a2b3", "")
	record(16, "7964af60450340957c61a2b3", "")
	record(17, "", `{"streamId":"st","op":"x","contact":{"id":"6964af60450340957c61a2b3"}}`)
	r.end()
	var got []int64
	for _, e := range s.Events {
		got = append(got, e.at.Offset)
	}
	if len(got) != 3 || got[0] != 9 || got[1] != 14 || got[2] != 17 || s.Left != 9 {
		t.Errorf("kept are %v, left out %d", got, s.Left)
	}
	if l := r.looked; l.Records != 18 || l.Unreadable != 2 || !l.Oldest.Equal(noon.Add(-17)) {
		t.Errorf("looked at: %+v", l)
	}
}
