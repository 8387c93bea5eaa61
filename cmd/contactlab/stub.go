package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/lab/stub"
)

type stubOptions struct {
	config     stub.Config
	listen     string
	secretFile string
	scenario   string
	log        string
}

func stubCommand() *cobra.Command {
	o := stubOptions{config: stub.DefaultConfig()}
	c := &o.config
	cmd := &cobra.Command{
		Use:   "stub",
		Short: "Stand in for the API: answer like it, misbehave on demand, judge the client",
		Long: `Stub answers PUT /agentassist/api/v1/public/{streamId}/contacts/bulk-update as the
vendor's API does, for any account. It checks the token, counts what a correct
client never does, and shows it at /stats. Faults come from a scenario file or,
while it runs, from POST /fault: a rule in YAML or JSON, or ?name=RULE&off=true.
It ends at SIGINT or SIGTERM and prints its counters.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStub(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8099", "address to listen on")
	f.StringVar(&c.AppID, "app-id", c.AppID, "appId that tokens must name")
	f.StringVar(&c.Secret, "secret", c.Secret, "secret that tokens must be signed with")
	f.StringVar(&o.secretFile, "secret-file", "", "file with the secret, in place of --secret")
	f.StringSliceVar(&c.Algorithms, "algorithms", c.Algorithms, "signing algorithms that are accepted")
	f.BoolVar(&c.EnforceJTI, "enforce-jti", false, "accept each token once, by its jti")
	f.DurationVar(&c.Latency, "latency", 0, "how long a call takes")
	f.DurationVar(&c.Jitter, "jitter", 0, "most that is added to the latency")
	f.IntVar(&c.MaxInFlight, "max-in-flight", 0, "calls worked on at once; others wait (0: no limit)")
	f.IntVar(&c.RateLimit, "rate-limit", 0, "calls of an account in any window (0: no limit)")
	f.DurationVar(&c.RateWindow, "rate-window", c.RateWindow, "the window")
	f.IntVar(&c.RateStatus, "rate-status", c.RateStatus, "status above the limit")
	f.DurationVar(&c.RetryAfter, "retry-after", 0, "Retry-After above the limit (0: none)")
	f.IntVar(&c.MaxRows, "max-rows", 0, "rows a call; above it 413 (0: no limit)")
	f.Int64Var(&c.MaxBytes, "max-bytes", 0, "bytes a call; above it 413 (0: no limit)")
	f.StringSliceVar(&c.Reject, "reject", c.Reject, "contact ids that are refused, with * as wildcard")
	f.BoolVar(&c.RejectCall, "reject-call", false, "refuse the whole call with 412 where it has such a contact")
	f.BoolVar(&c.Partial, "partial", false, "accept contacts that lack everything but the id")
	f.BoolVar(&c.Terse, "terse", false, "leave the contacts out of the answer")
	f.StringVar(&o.scenario, "scenario", "", "file with the faults (YAML)")
	f.StringVar(&o.log, "log", "", "file for a line of JSON a call; it is written anew")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "seed of the scenario's shares")
	return cmd
}

func runStub(ctx context.Context, o stubOptions, out io.Writer) (err error) {
	if o.secretFile != "" {
		secret, err := os.ReadFile(o.secretFile)
		if err != nil {
			return fmt.Errorf("read the secret: %w", err)
		}
		o.config.Secret = string(bytes.TrimSpace(secret))
	}
	if o.config.Scenario, err = readScenario(o.scenario); err != nil {
		return err
	}
	o.config.KeepRows = 0 // the log in memory is for a check in the same process
	if o.log != "" {
		file, err := os.Create(o.log)
		if err != nil {
			return fmt.Errorf("write the log: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		o.config.Log = file
	}
	s, err := stub.New(o.config)
	if err != nil {
		return err
	}
	if err := s.Start(o.listen); err != nil {
		return errors.Join(err, s.Close())
	}
	fmt.Fprintf(out, "stub of the bulk-update API at %s, its counters at %s/stats\n", s.URL(), s.URL())
	<-ctx.Done()
	err = s.Close()
	stats := s.Stats()
	printStats(out, stats)
	if stats.LogBroken {
		err = errors.Join(err, fmt.Errorf("the log %s could not be written to its end", o.log))
	}
	return err
}

// readScenario reads a file with faults; without a name there are none.
func readScenario(path string) (stub.Scenario, error) {
	if path == "" {
		return stub.Scenario{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return stub.Scenario{}, fmt.Errorf("read the scenario: %w", err)
	}
	s, err := stub.ParseScenario(text)
	if err != nil {
		return stub.Scenario{}, fmt.Errorf("%w: %s: %w", errUsage, path, err)
	}
	return s, nil
}

func printStats(out io.Writer, n stub.Stats) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	statuses := make([]string, 0, len(n.Statuses))
	for _, status := range slices.Sorted(maps.Keys(n.Statuses)) {
		statuses = append(statuses, fmt.Sprintf("%d: %d", status, n.Statuses[status]))
	}
	for _, line := range []struct {
		name  string
		value any
	}{
		{"calls", n.Calls},
		{"by status", strings.Join(statuses, ", ")},
		{"rows", n.Rows},
		{"rows applied", n.AppliedRows},
		{"contacts", n.Contacts},
		{"most in flight", n.MaxInFlight},
		{"duplicates", n.Duplicates},
		{"out of order", n.OutOfOrder},
		{"overlaps", n.Overlaps},
		{"above the rate limit", n.RateRefused},
		{"applied late", n.LateRows},
	} {
		fmt.Fprintf(w, "%s\t%v\n", line.name, line.value)
	}
	_ = w.Flush() // the counters are a courtesy
}
