package explain

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func told(partition int32, committed int64, events ...batcher.EventStatus) *app.Explanation {
	e := &app.Explanation{Known: len(events) > 0, Partitions: []consumer.Partition{{Topic: "contacts", Partition: partition, State: consumer.Reading, Committed: committed}}}
	e.Events = events
	return e
}

// Where two replicas know an event, the one that owns its partition knows more: the other one
// had it before.
func TestStory_BelievesTheOwner(t *testing.T) {
	t.Parallel()
	before := batcher.EventStatus{Position: "contacts/0@3", State: batcher.EventDelivered}
	now := batcher.EventStatus{Position: "contacts/0@3", State: batcher.EventEnded}
	waiting := batcher.EventStatus{Position: "contacts/0@3", State: batcher.EventWaiting}
	for name, test := range map[string]struct {
		first, second *app.Explanation
		want          batcher.EventState
		owner         string
	}{
		"the owner first":                {told(0, 2, waiting), told(1, 9, before), batcher.EventWaiting, "first"},
		"the owner last":                 {told(1, 9, before), told(0, 2, waiting), batcher.EventWaiting, "second"},
		"one that only knows of the end": {told(0, 9, now), told(1, 9, before), batcher.EventDelivered, "second"},
	} {
		s := New(noon, "st", "c")
		s.Told("first", test.first)
		s.Told("second", test.second)
		if len(s.Events) != 1 || s.Events[0].State != test.want || s.Events[0].Replica != test.owner {
			t.Errorf("%s: %+v", name, s.Events)
		}
		if s.Events[0].Committed == nil || *s.Events[0].Committed != (test.first.Partitions[0].Committed == 9 && test.second.Partitions[0].Committed == 9) {
			t.Errorf("%s: committed is %v", name, s.Events[0].Committed)
		}
	}
}

func TestStory_IsInTheOrderOfTheLog(t *testing.T) {
	t.Parallel()
	s := New(noon, "st", "c")
	s.Failed("first", errors.New("gone"))
	if s.Known() {
		t.Error("known of a replica that did not answer")
	}
	s.Told("second", told(0, 11, batcher.EventStatus{Position: "contacts/0@12"}, batcher.EventStatus{Position: "contacts/1@2"}, batcher.EventStatus{Position: "contacts/0@9"}))
	letter := &app.Explanation{DeadLetters: []deadletter.Written{{Position: "contacts/0@10", Reason: "rejected", At: noon, Attempts: 3, Status: 200}}}
	s.Told("third", letter)
	want := []string{"contacts/0@9", "contacts/0@10", "contacts/0@12", "contacts/1@2"}
	for i, e := range s.Events {
		if e.Position != want[i] {
			t.Fatalf("events: %+v", s.Events)
		}
	}
	d := s.Events[1].DeadLetter
	if d == nil || d.Record != "contacts/0@10" || !d.Written.Equal(noon) || d.Attempts != 3 || s.Events[1].State != batcher.EventDeadLetter {
		t.Errorf("dead letter: %+v", d)
	}
	if len(s.Replicas) != 3 || s.Replicas[0].Error != "gone" || !s.Replicas[1].Known {
		t.Errorf("replicas: %+v", s.Replicas)
	}
}

// docs/explain.md names every field of -o json that a replica's answer does not have, and every state.
func TestStory_IsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, of := range []reflect.Type{
		reflect.TypeFor[Story](), reflect.TypeFor[Replica](), reflect.TypeFor[Event](), reflect.TypeFor[Looked](), reflect.TypeFor[DeadLettersRead](), reflect.TypeFor[Owner](),
	} {
		for f := range of.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				names = append(names, name)
			}
		}
	}
	for _, state := range []batcher.EventState{
		StateHandled, StateSkipped, StateStale, StateUnread, StateLeft, StateOpen, StateUnknown, batcher.EventWaiting, batcher.EventInFlight, batcher.EventMerged,
		batcher.EventDeadLetter, batcher.EventDelivered, batcher.EventEnded, batcher.EventDeleteAfter,
	} {
		names = append(names, string(state))
	}
	for _, name := range names {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/explain.md does not have %s", name)
		}
	}
}
