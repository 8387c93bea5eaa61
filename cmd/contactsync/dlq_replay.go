package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/replay"
	"github.com/contactsync/contactsync/internal/terminal"
)

func dlqReplayCommand(environ []string) *cobra.Command {
	r := replayCommand{}
	r.environ = environ
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Write dead letters back to their topics, without reordering a contact",
		Long: `Replay writes the selected dead letters back to the topic and partition that they came
from, oldest first, where their contacts have nothing newer: it reads the source topics
from the events of the dead letters to their end, and again before each write. The
service, which may run meanwhile, takes the records like any event. A replay may be
killed at any point: run it again with the same filters, and each dead letter is
replayed once.

Dead letters that must not be replayed are listed with one of these results:
  superseded        the contact has a newer event, delete or chosen dead letter
  already_replayed  by an earlier run
  undeliverable     the record still cannot be sent: see event.* and upstream.accounts
  replay_limit      it was replayed --max-replays times already
  truncated         the record was too large for the dead-letter topic, and its source
                    topic no longer has it
  unverifiable      the source topic no longer reaches back to the event, so something
                    newer may be missing; --allow-unverifiable replays these, too
  not_consumed      its topic is not in consumer.topics, or the partition is gone
  failed            the topic refused it

Run one replay at a time. The exit code is 1 if a dead letter failed or the run ended early.`,
		Example: `  contactsync dlq replay -c contactsync.yaml --reason unmapped --dry-run
  contactsync dlq replay -c contactsync.yaml --stream st-17 --since 24h --rate 50`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	r.flags(cmd)
	r.filters(cmd)
	f := cmd.Flags()
	f.BoolVar(&r.dry, "dry-run", false, "only print what would be done")
	f.Float64Var(&r.opts.Rate, "rate", 0, "dead letters a second; 0 for no limit")
	f.IntVar(&r.opts.Limit, "limit", 0, "replay at most this many dead letters; 0 for all")
	f.IntVar(&r.opts.MaxReplays, "max-replays", 3, "skip dead letters that were replayed this many times already")
	f.BoolVar(&r.opts.AllowUnverifiable, "allow-unverifiable", false, "replay also dead letters whose source topic no longer reaches back to the event")
	return cmd
}

type replayCommand struct {
	dlqOptions

	dry  bool
	opts replay.Options
}

func (r *replayCommand) run(cmd *cobra.Command) error {
	if !(r.opts.Rate >= 0) || r.opts.Limit < 0 || r.opts.MaxReplays < 1 {
		return usage("--rate and --limit must not be negative, --max-replays must be at least 1")
	}
	begun := time.Now()
	d, sel, err := r.choose(cmd)
	if err != nil {
		return err
	}
	defer d.Close()
	c, err := r.read(cmd.Context(), cmd, d, sel, true)
	if err != nil {
		return err
	}
	errs := cmd.ErrOrStderr()
	fmt.Fprintf(errs, "contactsync: %d dead letters are selected; reading the source topics\n", len(c.Entries))
	p := &outcomePrinter{out: cmd.OutOrStdout(), errs: errs, output: r.output, dry: r.dry, total: len(c.Entries), reported: time.Now()}
	run, err := d.Replayer(r.opts, p.print)
	if err != nil {
		return err
	}
	do := run.Run
	if r.dry {
		do = run.DryRun
	}
	summary, err := do(cmd.Context(), c.Entries)
	if printErr := p.finish(summary, run.Scanned(), err); err == nil {
		err = printErr
	}
	if n := summary[replay.Replayed]; n > 0 && !r.dry {
		fmt.Fprintf(errs, "contactsync: %d records were written back for the service to process; to list those that fail again: contactsync dlq list --since %s\n",
			n, begun.UTC().Format(time.RFC3339))
	}
	if err == nil && summary[replay.Failed] > 0 {
		return errReported // listed with their reasons
	}
	return err
}

// outcomePrinter prints outcomes as they come: a line for each in JSON; in a table only
// those that were not replayed. On a terminal it also prints a count now and then.
type outcomePrinter struct {
	out, errs io.Writer
	output    string
	dry       bool
	total     int
	ended     int
	reported  time.Time // when the count was printed last
	err       error     // the first of writing to out
}

// outcomeJSON is an outcome as --output json prints it. Its names are stable.
type outcomeJSON struct {
	Position string `json:"position"`
	Result   string `json:"result"`
	Detail   string `json:"detail,omitempty"`
	Reason   string `json:"reason"`
	Stream   string `json:"stream,omitempty"`
	Contact  string `json:"contact,omitempty"`
}

func (p *outcomePrinter) print(o replay.Outcome) {
	p.ended++
	e := o.Entry
	var err error
	switch {
	case p.output == "json":
		err = printJSON(p.out, outcomeJSON{e.Record.String(), p.name(o.Result), o.Detail, string(e.Reason), e.Stream, e.Contact})
	case p.dry && o.Result == replay.Replayed, o.Result != replay.Replayed && o.Result != replay.NotAttempted:
		_, err = fmt.Fprintf(p.out, "%-16s  %s  %s  %s  %s\n", p.name(o.Result), clean(e.Record.String()), clean(e.Stream), clean(e.Contact), clean(o.Detail))
	}
	if p.err == nil {
		p.err = err
	}
	if now := time.Now(); now.Sub(p.reported) >= 5*time.Second && terminal.Is(p.errs) {
		p.reported = now
		fmt.Fprintf(p.errs, "contactsync: %d of %d dead letters\n", p.ended, p.total)
	}
}

// name is the name of a result; a dry run has replayed nothing.
func (p *outcomePrinter) name(r replay.Result) string {
	if p.dry && r == replay.Replayed {
		return "would_replay"
	}
	return string(r)
}

// finish prints the summary, unless the run failed before there was an outcome. It
// returns the first error of writing the outcomes.
func (p *outcomePrinter) finish(summary replay.Summary, scanned int, failed error) error {
	var parts []string
	for _, r := range replay.Results() {
		if n := summary[r]; n > 0 || r == replay.Replayed {
			parts = append(parts, fmt.Sprintf("%s %d", strings.ReplaceAll(p.name(r), "_", " "), n))
		}
	}
	if failed == nil || len(summary) > 0 {
		fmt.Fprintf(p.errs, "contactsync: %s; %d records of the source topics were read\n", strings.Join(parts, ", "), scanned)
	}
	if p.err != nil {
		return fmt.Errorf("print the outcomes: %w", p.err)
	}
	return nil
}
