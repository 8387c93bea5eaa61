package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/lab/demo"
	"github.com/contactsync/contactsync/internal/lab/plant"
	"github.com/contactsync/contactsync/internal/terminal"
)

type demoOptions struct {
	demo.Options

	logFile  string
	scenario string // file
}

// errInterrupted says that the run was stopped before it could be judged.
var errInterrupted = errors.New("interrupted")

// errViolations says that the checker found violations; they have been printed.
var errViolations = errors.New("the checker found violations")

func demoCommand() *cobra.Command {
	o := demoOptions{Options: demo.DefaultOptions()}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole service in one process, break the API, and check the result",
		Long: `Demo starts an embedded Kafka broker and an API that behaves like the real one,
with its minute scaled down to a second, writes a backlog of events to the topic,
some of them broken, and runs the service on it, wired as in production. When part
of the backlog is done, the API goes down for some seconds and then throttles.
At the end a checker that knows every event compares what was produced with what
the API received, what was committed and what is in the dead-letter topic. The
exit code is 0 when every check holds and 1 when one does not.

To see the checker find something, plant a bug:
` + bugList(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	fl := cmd.Flags()
	fl.IntVar(&o.Feed.Events, "events", o.Feed.Events, "events in the backlog")
	fl.IntVar(&o.Feed.Contacts, "contacts", o.Feed.Contacts, "contacts that the events are about")
	fl.IntVar(&o.Feed.Streams, "streams", o.Feed.Streams, "streams that the contacts belong to")
	fl.Uint64Var(&o.Feed.Seed, "seed", o.Feed.Seed, "seed of the events")
	fl.IntVar(&o.Requests, "requests", o.Requests, "calls that the API accepts in a second")
	fl.DurationVar(&o.Outage, "outage", o.Outage, "how long the API is down (0s: it stays up)")
	fl.DurationVar(&o.Throttle, "throttle", o.Throttle, "how long the API throttles after that")
	fl.DurationVar(&o.Limit, "limit", o.Limit, "fail when the run takes longer")
	fl.StringVar(&o.Bug, "plant", "", "plant a bug for the checker to find")
	fl.StringVar(&o.logFile, "log", "", "write the service's log to this file")
	fl.StringVar(&o.API, "api", o.API, "model of the API: stub, or vendor (made from the vendor's page alone)")
	fl.StringVar(&o.Variant, "variant", "", "with --api vendor: a variant that contactlab vendor --help lists")
	fl.StringVar(&o.scenario, "scenario", "", "with --api stub: file with further faults (docs/scenarios.md)")
	return cmd
}

// opening says what is about to be shown.
func (o demoOptions) opening() []string {
	lines := []string{fmt.Sprintf("The service works off %d events about %d contacts with as few calls as it can; the API takes %d of them a second.", o.Feed.Events, o.Feed.Contacts, o.Requests)}
	if o.Outage > 0 {
		lines = append(lines, fmt.Sprintf("At 30 %% the API goes down for %v, newer events arrive, and then it throttles for %v.", o.Outage, o.Throttle))
	}
	return append(lines, "At the end a checker compares what was produced with what the API has.", "")
}

func bugList() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(plant.Bugs)) {
		fmt.Fprintf(&b, "  --plant %-18s %s\n", name, plant.Bugs[name])
	}
	return b.String()
}

func runDemo(ctx context.Context, o demoOptions, out io.Writer) (err error) {
	if o.Scenario, err = readScenario(o.scenario); err != nil {
		return err
	}
	if o.logFile != "" {
		f, err := os.Create(o.logFile)
		if err != nil {
			return err
		}
		defer f.Close()
		o.Log = slog.New(slog.NewTextHandler(f, nil))
	}
	v := newView(out)
	for _, line := range o.opening() {
		fmt.Fprintln(out, terminal.Wrap(line, v.width(), ""))
	}
	report, err := demo.Run(ctx, o.Options, v)
	v.clear()
	if ctx.Err() != nil { // what was not done by then is no violation
		fmt.Fprintln(out, "interrupted: the run was not judged")
		return errInterrupted
	}
	if report == nil {
		return err
	}
	headline := fmt.Sprintf("%s, in %v", report.Headline(), time.Since(v.start).Round(100*time.Millisecond))
	fmt.Fprintf(out, "\n%v\n%s\n", report, terminal.Wrap(headline, v.width(), ""))
	if !report.OK() {
		return errors.Join(errViolations, err)
	}
	return err
}
