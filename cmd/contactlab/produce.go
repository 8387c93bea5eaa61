package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

type produceOptions struct {
	feed       feed.Config
	brokers    []string
	partitions int32
	manifest   string
}

func produceCommand() *cobra.Command {
	o := produceOptions{feed: feed.DefaultConfig()}
	c := &o.feed
	cmd := &cobra.Command{
		Use:   "produce",
		Short: "Write contact-changed events to Kafka, and a manifest of them",
		Long: `Produce writes native events that depend on the seed alone: contacts in streams
st-0000, st-0001, ..., each event of a contact with a higher "seq" than the one
before. Shares of them are poison, tombstones, or of contacts that the stub
refuses. The manifest is what a checker compares a run with.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.Validate(); err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return produce(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.brokers, "brokers", []string{"127.0.0.1:9092"}, "addresses of Kafka")
	f.StringVar(&c.Topic, "topic", c.Topic, "topic to write to")
	f.Int32Var(&o.partitions, "partitions", 0, "create the topic with this many partitions unless it exists (0: do not create it)")
	f.IntVar(&c.Streams, "streams", c.Streams, "number of streams")
	f.IntVar(&c.Contacts, "contacts", c.Contacts, "number of contacts, in all streams together")
	f.IntVar(&c.Events, "events", c.Events, "number of events")
	f.Float64Var(&c.Skew, "skew", 0, "exponent of the Zipf distribution of events over contacts, above 1 (0: uniform)")
	f.Float64Var(&c.Rate, "rate", 0, "events a second (0: as fast as possible)")
	f.StringVar(&c.Compression, "compression", "none", "compression: none, gzip, snappy, lz4 or zstd")
	f.Float64Var(&c.PoisonShare, "poison", 0, "share of broken events")
	f.Float64Var(&c.RejectShare, "reject", 0, `share of contacts whose id starts with "bad"`)
	f.Float64Var(&c.TombstoneShare, "tombstones", 0, "share of events without a value")
	f.Float64Var(&c.DeleteShare, "deletes", 0, "share of events that delete their contact")
	f.BoolVar(&c.Transactional, "transactional", false, "write in transactions")
	f.IntVar(&c.TxnEvents, "txn-events", c.TxnEvents, "events in a transaction")
	f.Float64Var(&c.AbortShare, "abort-share", 0, "share of transactions that are aborted")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "seed")
	f.Int64Var(&c.SeqBase, "seq-base", 0, "added to every seq, so that a second run is newer than the first")
	f.StringVar(&o.manifest, "manifest", "", "write the manifest to this file")
	return cmd
}

func produce(ctx context.Context, o produceOptions, stdout, stderr io.Writer) error {
	if o.partitions > 0 {
		if err := broker.CreateTopic(ctx, o.brokers, o.feed.Topic, o.partitions); err != nil {
			return err
		}
	}
	start := time.Now()
	printed := start
	man, err := feed.Produce(ctx, o.brokers, o.feed, func(n int) {
		if time.Since(printed) >= time.Second {
			printed = time.Now()
			fmt.Fprintf(stderr, "%d of %d events, %.0f/s\n", n, o.feed.Events, float64(n)/time.Since(start).Seconds())
		}
	})
	if err != nil {
		return err
	}
	took := time.Since(start)
	if o.manifest != "" {
		if err := man.WriteFile(o.manifest); err != nil {
			return err
		}
	}
	sum := man.Sum()
	fmt.Fprintf(stdout, "%d events to %s in %v; %d contacts with an update in %d streams\n",
		sum.Events, o.feed.Topic, took.Round(time.Millisecond), sum.Distinct(), len(sum.Contacts))
	for class := range feed.Aborted + 1 {
		if n := sum.Classes[class]; n > 0 {
			fmt.Fprintf(stdout, "  %-12s %d\n", class, n)
		}
	}
	return nil
}
