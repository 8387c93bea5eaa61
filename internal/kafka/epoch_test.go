package kafka_test

import (
	"errors"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync/internal/kafka"
)

// TestEpochEnd_OfAnEmbeddedBroker asks an embedded broker, whose partition gets another leader.
func TestEpochEnd_OfAnEmbeddedBroker(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	b.produce(1, 3)
	for node := range int32(3) {
		if err := b.broker.Cluster.MoveTopicPartition("contacts", 1, node); err != nil {
			t.Fatal(err)
		}
	}
	b.client.ForceMetadataRefresh()
	b.produce(1, 2)
	ends := map[int32]int64{}
	for epoch := range int32(5) {
		for {
			end, err := kafka.EpochEnd(t.Context(), b.kafka, partition(1), epoch)
			if ends[epoch] = end; err == nil {
				break
			}
			if !errors.Is(err, kafkago.NotLeaderForPartition) || !kafka.Sleep(t.Context(), 50*time.Millisecond) { // until it knows the new one
				t.Fatal(err)
			}
		}
	}
	if ends[0] != 3 || ends[2] != 3 || ends[3] != 5 || ends[4] != -1 {
		t.Errorf("the epochs end at %v, want 3 up to the last leader, 5 with it, and -1 for one that was never", ends)
	}
}
