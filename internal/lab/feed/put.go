package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// NewUpdate returns a valid state of the n-th of some contacts, as a Generator does.
func NewUpdate(c Contact, n int, seq int64, class Class) Event {
	ev := Event{Key: []byte(c.Stream + "/" + c.ID), Contact: n, Seq: seq, Class: class}
	ev.Value = appendUpdate(nil, c, ev)
	return ev
}

// Put writes the caller's own events to an existing topic, in order, and returns when
// all are acknowledged. They are compressed, so that a value of many megabytes still
// fits the broker's limit.
func Put(ctx context.Context, brokers []string, topic string, contacts []Contact, events []Event) (*Manifest, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(64<<20), kgo.BrokerMaxWriteBytes(256<<20),
	)
	if err != nil {
		return nil, fmt.Errorf("produce to %s: %w", topic, err)
	}
	defer client.Close()
	m := &Manifest{Topics: []string{topic}, Contacts: contacts, Records: make([]Record, len(events))}
	var mu sync.Mutex
	var faults []error
	for i, ev := range events {
		rec := &m.Records[i]
		*rec = Record{Seq: ev.Seq, Contact: int32(ev.Contact), Class: ev.Class}
		client.Produce(ctx, &kgo.Record{Key: ev.Key, Value: ev.Value}, func(r *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				faults = append(faults, fmt.Errorf("produce event %d to %s: %w", i, topic, err))
				return
			}
			rec.Partition, rec.Offset, rec.Time = r.Partition, r.Offset, r.Timestamp.UnixNano()
		})
	}
	if err := client.Flush(ctx); err != nil {
		return nil, fmt.Errorf("produce to %s: %w", topic, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return m, nil
}
