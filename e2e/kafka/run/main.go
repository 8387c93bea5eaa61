// Command run starts Apache Kafka on loopback ports, prints its brokers and
// keeps it up until it is interrupted:
//
//	go run ./e2e/kafka/run --nodes 3
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run prints the brokers to stdout, so that a script can take them, and all else to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts := kafka.Options{Log: stderr}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&opts.Nodes, "nodes", 1, "number of nodes: 1 or 3")
	flags.StringVar(&opts.Dir, "dir", "", "directory for data and logs; kept (default: a temporary one, removed)")
	if flags.Parse(args) != nil {
		return 2
	}
	starting, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cluster, err := kafka.Start(starting, opts)
	if err != nil {
		fmt.Fprintln(stderr, "run:", err)
		return 1
	}
	fmt.Fprintln(stdout, strings.Join(cluster.Brokers(), ","))
	<-ctx.Done()
	if err := cluster.Stop(); err != nil {
		fmt.Fprintln(stderr, "run:", err)
		return 1
	}
	return 0
}
