package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
)

// raw are batches by the positions at which they are served instead of the records there.
type raw struct {
	once sync.Once
	mu   sync.Mutex
	at   map[contactsync.Position][]byte
}

// PutRaw has a partition hold bytes as its next batch, whatever they are: a broker that
// checks nothing. They take one offset, which batch is told, but lie at all those that the
// batch says it has. Only fetches that ask for one partition see them.
func (b *Broker) PutRaw(ctx context.Context, p contactsync.TopicPartition, batch func(offset int64) []byte) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return fmt.Errorf("put a batch: %w", err)
	}
	defer client.Close()
	place, err := client.ProduceSync(ctx, &kgo.Record{Topic: p.Topic, Partition: p.Partition}).First()
	if err != nil {
		return fmt.Errorf("put a batch: %w", err)
	}
	bytes := batch(place.Offset)
	b.raw.mu.Lock()
	defer b.raw.mu.Unlock()
	if b.raw.at == nil {
		b.raw.at = map[contactsync.Position][]byte{}
	}
	b.raw.at[contactsync.Position{TopicPartition: p, Offset: place.Offset}] = bytes
	b.raw.once.Do(func() {
		b.Cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.Cluster.KeepControl()
			res := b.raw.answer(req.(*kmsg.FetchRequest))
			return res, nil, res != nil
		})
	})
	return nil
}

// answer returns the answer to a fetch of such a batch, and nil to any other.
func (r *raw) answer(req *kmsg.FetchRequest) kmsg.Response {
	if len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 {
		return nil
	}
	topic, part := req.Topics[0], &req.Topics[0].Partitions[0]
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := contactsync.TopicPartition{Topic: topic.Topic, Partition: part.Partition}
	var batch []byte
	for p, held := range r.at {
		switch {
		case p.TopicPartition != asked:
		case part.FetchOffset < p.Offset:
			req.MaxBytes, part.PartitionMaxBytes = 1, 1 // one batch at a time, so that the answer does not run past it
		case part.FetchOffset <= p.Offset+lastOffsetDelta(held):
			batch = held
		}
	}
	if batch == nil {
		return nil
	}
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.RecordBatches = part.Partition, batch
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = part.FetchOffset+1, part.FetchOffset+1, 0
	t := kmsg.NewFetchResponseTopic()
	t.Topic, t.Partitions = topic.Topic, append(t.Partitions, p)
	res := req.ResponseKind().(*kmsg.FetchResponse)
	res.Topics = append(res.Topics, t)
	return res
}

// lastOffsetDelta is how many offsets behind its first a batch says that it has.
func lastOffsetDelta(batch []byte) int64 {
	if len(batch) < 27 {
		return 0
	}
	return max(0, int64(int32(binary.BigEndian.Uint32(batch[23:]))))
}
