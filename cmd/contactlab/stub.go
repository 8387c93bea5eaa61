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
		Short: "Run a stub of the API that misbehaves on demand and checks its client",
		Long: `Stub answers PUT /agentassist/api/v1/public/{streamId}/contacts/bulk-update as the
vendor's API does, for any account. It checks the token, counts what a correct
client never does, and shows the counters at /stats. Faults come from a scenario
file or, at run time, from POST /fault: a rule in YAML or JSON, or
?name=RULE&off=true. SIGINT or SIGTERM ends it; then it prints its counters.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStub(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8099", "address to listen on")
	f.StringVar(&c.AppID, "app-id", c.AppID, "appId that tokens must have")
	f.StringVar(&c.Secret, "secret", c.Secret, "secret that tokens must be signed with")
	f.StringVar(&o.secretFile, "secret-file", "", "file with the secret, instead of --secret")
	f.StringSliceVar(&c.Algorithms, "algorithms", c.Algorithms, "signing algorithms that are accepted")
	f.BoolVar(&c.EnforceJTI, "enforce-jti", false, "accept each token once, by its jti")
	f.DurationVar(&c.Latency, "latency", 0, "latency of a call")
	f.DurationVar(&c.Jitter, "jitter", 0, "at most this much is added to the latency")
	f.IntVar(&c.MaxInFlight, "max-in-flight", 0, "calls that are handled at a time; others wait (0: no limit)")
	f.IntVar(&c.RateLimit, "rate-limit", 0, "calls of an account in a window (0: no limit)")
	f.DurationVar(&c.RateWindow, "rate-window", c.RateWindow, "window of the rate limit")
	f.IntVar(&c.RateStatus, "rate-status", c.RateStatus, "status of calls above the limit")
	f.DurationVar(&c.RetryAfter, "retry-after", 0, "Retry-After of calls above the limit (0: none)")
	f.IntVar(&c.MaxRows, "max-rows", 0, "rows in a call; with more it is answered 413 (0: no limit)")
	f.Int64Var(&c.MaxBytes, "max-bytes", 0, "bytes in a call; with more it is answered 413 (0: no limit)")
	f.StringSliceVar(&c.Reject, "reject", c.Reject, "contact ids to refuse, with * as wildcard")
	f.BoolVar(&c.RejectCall, "reject-call", false, "answer a call with such a contact 412, and apply none of it")
	f.BoolVar(&c.Partial, "partial", false, "accept contacts with nothing but the id")
	f.BoolVar(&c.Terse, "terse", false, "leave the contacts out of the answer")
	f.StringVar(&o.scenario, "scenario", "", "YAML file with faults (docs/scenarios.md)")
	f.StringVar(&o.log, "log", "", "write a line of JSON for each call to this file")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "seed of the shares in the scenario")
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
	o.config.KeepRows = 0 // the log in memory is for a checker in the same process
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
		err = errors.Join(err, fmt.Errorf("the log %s could not be written completely", o.log))
	}
	return err
}

// readScenario reads a file with faults. The empty path means none.
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
	_ = w.Flush() // to a terminal
}
