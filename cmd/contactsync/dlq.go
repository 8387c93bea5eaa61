package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
)

func dlqCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "List, show, count and replay dead letters",
		Long: `Dlq works on the dead-letter topic of the settings, also while the service runs: it
does not join the consumer group and commits nothing. A dead letter is named by the
position of the record that it holds, as list prints it. Copies of a dead letter count
once; the newest is shown.`,
	}
	group(cmd)
	cmd.AddCommand(dlqListCommand(environ), dlqShowCommand(environ), dlqStatsCommand(environ), dlqReplayCommand(environ))
	return cmd
}

// dlqOptions are the flags that the commands share.
type dlqOptions struct {
	environ []string
	file    string
	output  string

	since, until               string
	streams, contacts, reasons []string
}

func (o *dlqOptions) flags(cmd *cobra.Command) {
	configFlag(cmd, &o.file)
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "table, or json: one object a line")
}

func (o *dlqOptions) filters(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&o.streams, "stream", nil, "only dead letters of this streamId; may be repeated")
	f.StringSliceVar(&o.contacts, "contact", nil, "only dead letters of this contact id; may be repeated")
	f.StringSliceVar(&o.reasons, "reason", nil, "only dead letters with this reason; may be repeated")
	f.StringVar(&o.since, "since", "", "only dead letters whose last failure was at or after this time: RFC 3339, or how long ago, like 2h")
	f.StringVar(&o.until, "until", "", "only dead letters whose last failure was before this time")
}

// selection reads the filters.
func (o *dlqOptions) selection(now time.Time) (deadletter.Selection, error) {
	s := deadletter.Selection{Streams: o.streams, Contacts: o.contacts}
	for _, r := range o.reasons {
		if !slices.Contains(contactsync.Reasons(), contactsync.Reason(r)) {
			return s, usage("--reason %q is unknown: one of %v", r, contactsync.Reasons())
		}
		s.Reasons = append(s.Reasons, contactsync.Reason(r))
	}
	var err error
	if s.Since, err = when("--since", o.since, now); err != nil {
		return s, err
	}
	if s.Until, err = when("--until", o.until, now); err != nil {
		return s, err
	}
	if !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until) {
		return s, usage("--since %s is not before --until %s", o.since, o.until)
	}
	return s, nil
}

// when reads a time, or how long ago it was.
func when(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usage("%s %q is not a time: write it as 2026-03-01T12:00:00Z, or how long ago, like 90m", flag, text)
	}
	return t, nil
}

// open checks the output and reads the settings.
func (o *dlqOptions) open(cmd *cobra.Command) (*app.DeadLetters, error) {
	if err := checkOutput(o.output, "table"); err != nil {
		return nil, err
	}
	cfg, err := load(o.file, o.environ, cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	cfg.Log.Level, cfg.Log.Format = "warn", "text" // for a person
	return app.OpenDeadLetters(cfg, app.NewLogger(cfg.Log, cmd.ErrOrStderr()))
}

// choose reads the filters as well.
func (o *dlqOptions) choose(cmd *cobra.Command) (*app.DeadLetters, deadletter.Selection, error) {
	sel, err := o.selection(time.Now())
	if err != nil {
		return nil, sel, err
	}
	d, err := o.open(cmd)
	return d, sel, err
}

// read reads the selected dead letters, and reports what else is in the topic.
func (o *dlqOptions) read(ctx context.Context, cmd *cobra.Command, d *app.DeadLetters, sel deadletter.Selection, withValues bool) (deadletter.Contents, error) {
	if err := d.Reach(ctx); err != nil {
		return deadletter.Contents{}, err
	}
	c, err := d.Read(ctx, sel, withValues)
	if err != nil {
		return c, err
	}
	if c.Others > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "contactsync: %d messages of the topic are not dead letters\n", c.Others)
	}
	for _, why := range slices.Sorted(maps.Keys(c.Problems)) {
		p := c.Problems[why]
		fmt.Fprintf(cmd.ErrOrStderr(), "contactsync: %d messages of the topic cannot be read, such as %v: %s\n", p.Messages, p.First, clean(why))
	}
	if len(c.Entries) == 0 && sel.Record == (contactsync.Position{}) { // else show has an error that says which
		fmt.Fprintf(cmd.ErrOrStderr(), "contactsync: none of %d dead letters is selected\n", c.All)
	}
	return c, nil
}

// entryJSON is a dead letter as --output json prints it. Its names are stable.
type entryJSON struct {
	Position  string     `json:"position"` // of the record
	Reason    string     `json:"reason"`
	Stream    string     `json:"stream,omitempty"`
	Contact   string     `json:"contact,omitempty"`
	Status    int        `json:"status,omitempty"`
	Attempts  int        `json:"attempts,omitempty"`
	First     *time.Time `json:"first_failure,omitempty"`
	Last      *time.Time `json:"last_failure,omitempty"`
	Detail    string     `json:"detail,omitempty"`
	Events    int        `json:"events"` // that it ends
	Replays   int        `json:"replays"`
	Truncated bool       `json:"truncated,omitempty"`
	Copies    int        `json:"copies"`      // itself included
	At        string     `json:"dead_letter"` // its position in the dead-letter topic
	Written   *time.Time `json:"written,omitempty"`
}

func jsonOf(e *deadletter.Entry) entryJSON {
	return entryJSON{
		Position: e.Record.String(), Reason: string(e.Reason), Stream: e.Stream, Contact: e.Contact,
		Status: e.Status, Attempts: e.Attempts, First: known(e.First), Last: known(e.Last), Detail: e.Detail,
		Events: len(e.Positions) + e.PositionsLeft, Replays: replays(e), Truncated: e.Envelope != nil,
		Copies: e.Copies, At: e.At.String(), Written: known(e.Written),
	}
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// clean keeps what came from outside within its column of a table. What could control the
// terminal is escaped for all output, in run.
func clean(text string) string {
	if text == "" {
		return "-"
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}
