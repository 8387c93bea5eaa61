package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/kafka"
)

// Whoever is no member sees what the group has committed, with what is kept with it, as of the
// log that a member sees, and who its members are.
func TestStored_ShowsAGroupToStrangers(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	member, stranger := b.newMember(), b.newMember()
	defer b.leave(stranger) // which closes its connections, although it has not joined
	owners, err := kafka.Owners(t.Context(), stranger)
	if err != nil || len(owners) != 0 {
		t.Errorf("before there is a group: %+v, %v", owners, err)
	}
	gen := b.next(member)
	defer b.leave(member)
	failed, err := member.Commit(t.Context(), gen, []kafka.Committed{{TopicPartition: partition(1), Offset: 5, Metadata: "kept"}})
	if err != nil || failed[0] != nil {
		t.Fatalf("commit: %v, %v", failed, err)
	}
	stored, err := kafka.Stored(t.Context(), stranger, map[string]int{"contacts": 2})
	if err != nil || len(stored) != 2 {
		t.Fatalf("stored: %+v, %v", stored, err)
	}
	for _, o := range stored {
		seen := member.Committed(t.Context(), gen, o.TopicPartition)
		if o != seen || o.Cluster == "" || o.TopicID == [16]byte{} || o.Partition == 1 && (o.Offset != 5 || o.Metadata != "kept") {
			t.Errorf("a stranger sees %+v, a member %+v", o, seen)
		}
	}
	owners, err = kafka.Owners(t.Context(), stranger)
	if err != nil || len(owners) != 2 || owners[0].Client == "" || owners[0].Host == "" || owners[0].Topic != "contacts" {
		t.Errorf("owners: %+v, %v", owners, err)
	}
}

// A key leads where Java's producers, and franz-go, write its records.
func TestPartitionOf_IsThatOfProducers(t *testing.T) {
	t.Parallel()
	p := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	for _, key := range []string{"", "st-1", "st-1/6964af60450340957c61a2b3", "6964af60450340957c61a2b3", "é\x00"} {
		for _, n := range []int{1, 2, 7, 100} {
			if key == "" && n > 1 {
				continue // franz-go may take an empty key for none
			}
			if got, want := kafka.PartitionOf([]byte(key), n), p.Partition(&kgo.Record{Key: []byte(key)}, n); int(got) != want {
				t.Errorf("%q of %d: %d, want %d", key, n, got, want)
			}
		}
	}
}
