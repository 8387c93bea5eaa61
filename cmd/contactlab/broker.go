package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/harness"
)

func brokerCommand() *cobra.Command {
	o := broker.Options{Topics: map[string]int32{}}
	topics := map[string]int{}
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run an in-memory Kafka, to try the service without a real one",
		Long: `Broker serves Kafka's protocol on loopback, with groups and transactions, until
SIGINT or SIGTERM. Everything is kept in memory and lost at the end, and its speed
says nothing about a real Kafka's. Only the topics named here exist.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for topic, n := range topics {
				if n < 1 || n > 1000 {
					return fmt.Errorf("%w: --topics %s=%d: from 1 to 1000 partitions", errUsage, topic, n)
				}
				o.Topics[topic] = int32(n)
			}
			return runBroker(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Port, "port", 9092, "port of the first broker; the others have the next ones (0: any free ports)")
	f.IntVar(&o.Nodes, "nodes", 1, "number of brokers")
	f.StringToIntVar(&topics, "topics", map[string]int{harness.Topic: 6, harness.DeadLetters: 3}, "topics, each with its number of partitions")
	return cmd
}

func runBroker(ctx context.Context, o broker.Options, out io.Writer) error {
	b, err := broker.Start(o)
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Fprintf(out, "in-memory Kafka at %s\n", strings.Join(b.Addrs(), ","))
	<-ctx.Done()
	return nil
}
