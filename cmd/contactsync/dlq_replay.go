package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/replay"
)

func dlqReplayCommand(environ []string) *cobra.Command {
	r := replayCommand{}
	r.environ = environ
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Give dead letters another try, without reordering a contact",
		Long: `Replay takes the selected letters, the oldest first, and gives each another try where
its contact has nothing newer: it reads the source topics from the letters' events up
to their end, and again before everything that it sends. The service may run meanwhile.

--via topic writes the records back to the topic and partition that they came from,
and the running service takes them like any event. It may be killed at any point:
run it again with the same filters, and each letter is replayed once.

--via api sends the contacts to the API itself, with --budget-share of each account's
requests on top of what the service spends. It remembers in the --progress file what
was sent: run it again with the same file to go on.

Letters that must not be replayed are listed with the reason:
  newer       the contact has a newer event, delete or chosen letter
  already     an earlier run has replayed it
  broken      the record is still no event that could be sent: see event.* and upstream.accounts
  loop        it was replayed --max-replays times already
  incomplete  the record was too large for the topic, and is gone from its source
  unverifiable    the source topic no longer reaches back to the event, so nobody knows
              whether something newer came after it; --unverifiable replays such letters too
  elsewhere   its topic is none of consumer.topics, or the partition is gone
  failed      the topic or the API refused it

Run one replay at a time. The exit code is 1 when a letter failed, the run was cut short,
or the progress file still holds letters that were begun and have not ended.`,
		Example: `  contactsync dlq replay -c contactsync.yaml --reason unmapped --dry-run
  contactsync dlq replay -c contactsync.yaml --stream st-17 --since 24h --rate 50
  contactsync dlq replay -c contactsync.yaml --via api --progress replay.progress`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.begun, r.shared = time.Now(), cmd.Flags().Changed("budget-share")
			return r.run(cmd)
		},
	}
	r.flags(cmd)
	r.filters(cmd)
	f := cmd.Flags()
	f.StringVar(&r.via, "via", "topic", "topic: write the records back; api: send the contacts to the API")
	f.BoolVar(&r.dry, "dry-run", false, "only tell what would happen")
	f.Float64Var(&r.opts.Rate, "rate", 0, "letters a second; 0 for as fast as it goes")
	f.IntVar(&r.opts.Limit, "limit", 0, "how many letters to replay at most; 0 for all")
	f.IntVar(&r.opts.MaxReplays, "max-replays", 3, "leave letters alone that were replayed so often already")
	f.BoolVar(&r.opts.Unverifiable, "unverifiable", false, "replay also letters whose source topic no longer reaches back to the event")
	f.StringVar(&r.progress, "progress", "", "with --via api: the file that remembers what was sent")
	f.Float64Var(&r.share, "budget-share", 0.1, "with --via api: the part of each account's requests to use, above 0 and up to 1")
	return cmd
}

type replayCommand struct {
	dlqOptions

	via, progress string
	share         float64
	shared        bool // share was given
	dry           bool
	begun         time.Time
	opts          replay.Options
}

func (r *replayCommand) check() error {
	switch {
	case r.via != "topic" && r.via != "api":
		return usage("--via %q is unknown: topic or api", r.via)
	case r.via == "api" && r.progress == "" && !r.dry:
		return usage("--via api needs --progress FILE: without it a run that is cut short could not go on")
	case r.via == "topic" && r.progress != "":
		return usage("--progress is for --via api: written back, a letter is found in its topic")
	case r.via == "topic" && r.shared:
		return usage("--budget-share is for --via api: written back, letters go within the service's own budget; --rate slows them down")
	case !(r.share > 0 && r.share <= 1):
		return usage("--budget-share %v must lie above 0 and at most at 1", r.share)
	case !(r.opts.Rate >= 0) || r.opts.Limit < 0 || r.opts.MaxReplays < 1:
		return usage("--rate and --limit must not be negative, --max-replays must be at least 1")
	}
	return nil
}

func (r *replayCommand) run(cmd *cobra.Command) (err error) {
	if err := r.check(); err != nil {
		return err
	}
	d, sel, err := r.choose(cmd)
	if err != nil {
		return err
	}
	defer d.Close()
	// Before anything is read: a file that cannot be used is told at once.
	progress, err := r.openProgress()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, progress.Close()) }()
	c, err := r.read(cmd.Context(), cmd, d, sel, true)
	if err != nil {
		return err
	}
	errs := cmd.ErrOrStderr()
	fmt.Fprintf(errs, "contactsync: %d letters are selected; reading the source topics\n", len(c.Entries))
	show := newReplayView(cmd.OutOrStdout(), errs, r.output, r.dry, len(c.Entries))
	run, err := d.Replayer(r.opts, show.outcome)
	if err != nil {
		return err
	}
	summary, err := r.replay(cmd.Context(), d, run, c.Entries, progress)
	if closeErr := show.close(summary, run.Scanned(), err); err == nil {
		err = closeErr
	}
	if n := summary[replay.Replayed]; n > 0 && r.via == "topic" && !r.dry {
		fmt.Fprintf(errs, "contactsync: %d records are back in their topics, and the service decides about them; this lists those that fail again: contactsync dlq list --since %s\n",
			n, r.begun.UTC().Format(time.RFC3339))
	}
	if err == nil && summary[replay.Failed] > 0 {
		return errReported // listed with their reasons
	}
	return err
}

// openProgress returns the progress file; without --progress one that is empty and nowhere.
func (r *replayCommand) openProgress() (*replay.Progress, error) {
	if r.dry || r.progress == "" {
		return replay.ReadProgress(r.progress)
	}
	return replay.OpenProgress(r.progress)
}

func (r *replayCommand) replay(ctx context.Context, d *app.DeadLetters, run *replay.Replayer, letters []*deadletter.Entry, progress *replay.Progress) (_ replay.Summary, err error) {
	switch {
	case r.dry && r.progress != "":
		return run.DryRunToAPI(ctx, letters, progress)
	case r.dry:
		return run.DryRun(ctx, letters)
	case r.via == "topic":
		return run.ToTopic(ctx, letters)
	}
	api, err := d.API(r.share, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, api.Client.Close()) }()
	summary, err := run.ToAPI(ctx, letters, api)
	if err == nil && progress.Owed() > 0 {
		err = errReported // on the log
	}
	return summary, err
}

// replayView prints outcomes as they come: those replayed move a bar or are
// counted now and then, all others get a line.
type replayView struct {
	out, errs io.Writer
	output    string
	dry       bool
	total     int
	seen      int
	told      time.Time
	bars      *mpb.Progress // nil where nobody watches
	bar       *mpb.Bar
	err       error // the first of writing to out
}

func newReplayView(out, errs io.Writer, output string, dry bool, total int) *replayView {
	v := &replayView{out: out, errs: errs, output: output, dry: dry, total: total, told: time.Now()}
	if terminal(errs) && total > 0 {
		v.bars = mpb.New(mpb.WithOutput(errs), mpb.WithWidth(60))
		if terminal(out) {
			v.out = v.bars // above the bar, which they would tear otherwise
		}
		v.bar = v.bars.AddBar(int64(total),
			mpb.PrependDecorators(decor.Name("replay "), decor.CountersNoUnit("%d / %d")),
			mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.Elapsed(decor.ET_STYLE_GO)))
	}
	return v
}

// outcomeJSON is an outcome as --output json prints it. Names stay as they are.
type outcomeJSON struct {
	Position string `json:"position"`
	Result   string `json:"result"`
	Detail   string `json:"detail,omitempty"`
	Reason   string `json:"reason"`
	Stream   string `json:"stream,omitempty"`
	Contact  string `json:"contact,omitempty"`
}

func (v *replayView) outcome(o replay.Outcome) {
	v.seen++
	f := o.Letter
	var err error
	switch {
	case v.output == "json":
		err = printJSON(v.out, outcomeJSON{f.Record.String(), v.word(o.Result), o.Detail, string(f.Reason), f.Stream, f.Contact})
	case v.dry && o.Result == replay.Replayed, o.Result != replay.Replayed && o.Result != replay.Left:
		_, err = fmt.Fprintf(v.out, "%-12s  %s  %s  %s  %s\n", v.word(o.Result), clean(f.Record.String()), clean(f.Stream), clean(f.Contact), clean(o.Detail))
	}
	if v.err == nil {
		v.err = err
	}
	if v.bar != nil {
		v.bar.Increment()
	} else if now := time.Now(); now.Sub(v.told) >= 5*time.Second {
		v.told = now
		fmt.Fprintf(v.errs, "contactsync: %d of %d letters\n", v.seen, v.total)
	}
}

// word names a result; in a dry run nothing was replayed yet.
func (v *replayView) word(r replay.Result) string {
	if v.dry && r == replay.Replayed {
		return "would_replay"
	}
	return string(r)
}

// close ends the bar and prints the summary, where there is something to sum up.
func (v *replayView) close(summary replay.Summary, scanned int, failed error) error {
	if v.bar != nil {
		v.bar.Abort(false)
		v.bars.Wait()
	}
	var parts []string
	for _, r := range replay.Results() {
		if n := summary[r]; n > 0 || r == replay.Replayed {
			parts = append(parts, fmt.Sprintf("%s %d", strings.ReplaceAll(v.word(r), "_", " "), n))
		}
	}
	if failed == nil || len(summary) > 0 {
		fmt.Fprintf(v.errs, "contactsync: %s; %d records of the source topics were read\n", strings.Join(parts, ", "), scanned)
	}
	if v.err != nil {
		return fmt.Errorf("print the outcomes: %w", v.err)
	}
	return nil
}

// terminal reports whether a person watches.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
