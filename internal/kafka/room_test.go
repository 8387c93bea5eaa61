package kafka

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
	"github.com/contactsync/contactsync/internal/setting"
)

// oneBatch is a log of one batch, which comes whole.
type oneBatch []byte

func (b oneBatch) RoundTrip(_ context.Context, _ net.Addr, req kafkago.Request) (kafkago.Response, error) {
	return kafkatest.Fetch[protocol.Message](req, func(req *kmsg.FetchRequest) *kmsg.FetchResponse {
		part := kmsg.NewFetchResponseTopicPartition()
		part.RecordBatches, part.HighWatermark, part.LastStableOffset = b, 1, 1
		return kafkatest.Answer(req, part)
	})
}

// TestFetch_LargeAnswersWaitForEachOther: while the window is full each partition holds the answer that it goes
// through. What it asked for is little with many partitions, but a batch comes whole.
func TestFetch_LargeAnswersWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size, room = 1 << 20, 1<<20 + 1<<10
		c := NewOn(oneBatch(kafkatest.Batch(kmsg.RecordBatch{}, kmsg.Record{Value: make([]byte, size)})), []string{"b:1"}, time.Second, slog.New(slog.DiscardHandler))
		defer c.Close()
		c.decoding.answers = semaphore.NewWeighted(2 * room)
		fetch := func(ctx context.Context, asked int) (*Fetched, error) {
			return c.Fetch(ctx, FetchRequest{Partition: contactsync.TopicPartition{Topic: "t"}, MaxBytes: setting.Size(asked)})
		}
		var held []*Fetched
		for range 2 {
			f, err := fetch(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, f)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Hour) // far beyond the time of a request
		defer cancel()
		if _, err := fetch(short, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third large answer is held: %v", err)
		}
		if f, err := fetch(t.Context(), 2*size); err != nil { // as much as it asked for
			t.Error(err)
		} else {
			f.Release()
		}
		got := make(chan error)
		go func() {
			f, err := fetch(t.Context(), 1)
			if err == nil {
				err = f.Each(t.Context(), func(contactsync.Record) {})
			}
			got <- err
		}()
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatalf("it does not wait: %v", err)
		default:
		}
		if err := held[0].Each(t.Context(), func(contactsync.Record) {}); err != nil {
			t.Error(err)
		}
		if err := <-got; err != nil {
			t.Error(err)
		}
		held[1].Release()
		held[1].Release() // which counts once
		if !c.decoding.answers.TryAcquire(2 * room) {
			t.Error("the room is not given back")
		}
		c.decoding.answers.Release(2 * room)
	})
}

// A request that was given up may still be read by its connection.
func TestPermit_TakesNothingOnceItIsOver(t *testing.T) {
	t.Parallel()
	p := &permit{room: semaphore.NewWeighted(100), free: 10}
	if err := p.take(10); err != nil || p.held != 0 {
		t.Errorf("what was asked for takes %d: %v", p.held, err)
	}
	if err := errors.Join(p.take(60), p.take(60)); err != nil || p.held != 60 {
		t.Errorf("%d bytes are held: %v", p.held, err)
	}
	p.release()
	if err := p.take(60); !errors.Is(err, noRoom(60)) || p.held != 0 {
		t.Errorf("%d bytes are held: %v", p.held, err)
	}
}
