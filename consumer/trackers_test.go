package consumer

import (
	"testing"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/progress"
)

func TestTrackers_EndedGenerationMovesNothing(t *testing.T) {
	t.Parallel()
	old := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: 1}, Generation: 1}
	now := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: 1}, Generation: 2}
	s, l := newTrackers(), progress.NewTracker()
	l.Opened([]int64{0, 1})
	s.add(now, l)
	s.done([]contactsync.Ended{{Claim: old, Offset: 0}, {Claim: old, Offset: 1}})
	if got := l.State().Watermark; got != 0 {
		t.Fatalf("I4: an answer of generation 1 moved the watermark of generation 2 to %d", got)
	}
	s.done([]contactsync.Ended{{Claim: now, Offset: 0}, {Claim: old, Offset: 1}})
	if got := l.State().Watermark; got != 1 {
		t.Fatalf("watermark %d, want 1", got)
	}
}
