package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"
)

// Produce generates the events and writes them to an existing topic. progress, if
// not nil, is called now and then with the number of events handed to the client.
//
// All events are acknowledged when Produce returns the manifest. After an error it is
// not known how many reached the topic.
func Produce(ctx context.Context, brokers []string, cfg Config, progress func(events int)) (*Manifest, error) {
	gen, err := NewGenerator(cfg)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(options(brokers, cfg)...)
	if err != nil {
		return nil, fmt.Errorf("produce to %s: %w", cfg.Topic, err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &producer{
		cfg: cfg, gen: gen, client: client, cancel: cancel, progress: progress,
		man: &Manifest{Topics: []string{cfg.Topic}, Contacts: gen.contacts, Records: make([]Record, cfg.Events)},
	}
	if cfg.Rate > 0 {
		// A burst of 20 ms of events: the pace is even, and the timer is not the bottleneck.
		p.pace = rate.NewLimiter(rate.Limit(cfg.Rate), max(1, int(cfg.Rate/50)))
	}
	if err := p.run(ctx); err != nil {
		// The cause, an error of a promise, says more than the cancellation that follows it.
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("produce to %s: %w", cfg.Topic, err)
	}
	return p.man, nil
}

func options(brokers []string, cfg Config) []kgo.Opt {
	codec := map[string]kgo.CompressionCodec{
		"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.DefaultProduceTopic(cfg.Topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(50_000), // of 400 bytes: at most 20 MB
	}
	if c, ok := codec[cfg.Compression]; ok {
		opts = append(opts, kgo.ProducerBatchCompression(c))
	}
	if cfg.Transactional {
		opts = append(opts, kgo.TransactionalID(fmt.Sprintf("feed-%s-%d-%d", cfg.Topic, cfg.Seed, cfg.SeqBase)))
	}
	return opts
}

type producer struct {
	cfg      Config
	gen      *Generator
	client   *kgo.Client
	cancel   context.CancelCauseFunc
	progress func(int)
	pace     *rate.Limiter
	man      *Manifest
	made     int
	acks     sync.WaitGroup
}

func (p *producer) run(ctx context.Context) error {
	for more := true; more; {
		if p.cfg.Transactional {
			if err := p.client.BeginTransaction(); err != nil {
				return err
			}
		}
		txn := p.made / p.cfg.txnEvents()
		if err := p.batch(ctx, p.cfg.txnEvents()); err != nil {
			return errors.Join(err, p.drain(ctx))
		}
		if err := p.drain(ctx); err != nil {
			return err
		}
		if p.cfg.Transactional {
			end := kgo.TryCommit
			if p.gen.aborts(txn) {
				end = kgo.TryAbort
			}
			if err := p.client.EndTransaction(ctx, end); err != nil {
				return err
			}
		}
		more = p.made < p.cfg.Events
	}
	return nil
}

// txnEvents is how many events are produced between two waits for all acknowledgements.
func (c Config) txnEvents() int {
	if c.Transactional {
		return c.TxnEvents
	}
	return max(1, c.Events)
}

// drain waits until every event handed over is acknowledged or has failed.
func (p *producer) drain(ctx context.Context) error {
	err := p.client.Flush(ctx)
	if err != nil {
		_ = p.client.AbortBufferedRecords(context.WithoutCancel(ctx)) // so that every promise is called
	}
	p.acks.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

func (p *producer) batch(ctx context.Context, n int) error {
	for range n {
		ev, ok := p.gen.Next()
		if !ok {
			return nil
		}
		if p.pace != nil {
			if err := p.pace.Wait(ctx); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rec := &p.man.Records[p.made]
		*rec = Record{Seq: ev.Seq, Contact: int32(ev.Contact), Class: ev.Class}
		p.acks.Add(1)
		p.client.Produce(ctx, &kgo.Record{Key: ev.Key, Value: ev.Value}, func(r *kgo.Record, err error) {
			defer p.acks.Done()
			if err != nil {
				p.cancel(err)
				return
			}
			rec.Partition, rec.Offset, rec.Time = r.Partition, r.Offset, r.Timestamp.UnixNano()
		})
		p.made++
		if p.progress != nil && (p.made%4096 == 0 || p.made == p.cfg.Events) {
			p.progress(p.made)
		}
	}
	return nil
}
