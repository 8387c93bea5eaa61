package group

import (
	"errors"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// TestHolding_KeepsBackWhatMayBeOfAnotherLog from the first doubt on, before a second
// answer confirms it.
func TestHolding_KeepsBackWhatMayBeOfAnotherLog(t *testing.T) {
	t.Parallel()
	part := contactsync.TopicPartition{Topic: "a"}
	h := newHolding(1, []contactsync.TopicPartition{part}, map[string]Topic{"a": {TopicID{1}, 1}})
	commits := func(k kind) bool {
		a := ask{kind: k, offsets: []Offset{{TopicPartition: part}}}
		h.admit(&a)
		if len(a.offsets)+len(a.refused) != 1 {
			t.Fatalf("%+v", a)
		}
		return len(a.offsets) == 1
	}
	if !commits(kindCommit) {
		t.Error("an offset of the present log is kept back")
	}
	h.suspects(map[string]Topic{"a": {TopicID{2}, 1}})
	if commits(kindCommit) || !commits(kindFetch) {
		t.Error("an offset goes into a log that may be another one, or is not asked for")
	}
	h.recreations(map[string]Topic{"a": {TopicID{1}, 1}})
	if !commits(kindCommit) {
		t.Error("the doubt was not confirmed, and lasts")
	}
}

func TestAsk_AnOffsetThatAnAnswerLeavesOutHasFailed(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{kindCommit, kindFetch} {
		a := ask{kind: k, offsets: []Offset{{TopicPartition: contactsync.TopicPartition{Topic: "a"}}, {TopicPartition: contactsync.TopicPartition{Topic: "a", Partition: 1}}}}
		a.take([]Offset{{TopicPartition: contactsync.TopicPartition{Topic: "a"}}})
		if a.offsets[0].Code != codeOK || a.offsets[1].Code == codeOK {
			t.Errorf("%+v", a.offsets)
		}
	}
}

// TestMember_CommitsNothingOfALostAssignment although it has not been given back yet.
func TestMember_CommitsNothingOfALostAssignment(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	m := s.join("m", nil)
	s.owned(10*time.Second, m)
	h := &holding{number: m.held.Number, ids: map[string]TopicID{}, lost: true}
	m.m.offsets.add(kindCommit, h.number, []Offset{{TopicPartition: contactsync.TopicPartition{Topic: "a"}}}, s.now.Add(time.Minute))
	m.m.offsets.serve(s.now, h, m.m.coordinator)
	for _, e := range m.m.events {
		if d, ok := e.(Done); ok && errors.Is(d.Err, ErrNotOwned) {
			return
		}
	}
	t.Error("it is sent, or waits to be")
}
