package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
)

func dlqListCommand(environ []string) *cobra.Command {
	o := dlqOptions{environ: environ}
	limit := 0
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, newest first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage("--limit %d must not be negative", limit)
			}
			d, sel, err := o.choose(cmd)
			if err != nil {
				return err
			}
			defer d.Close()
			c, err := o.read(cmd.Context(), cmd, d, sel, false)
			if err != nil {
				return err
			}
			entries, older := c.Entries, 0
			slices.Reverse(entries)
			if limit > 0 && len(entries) > limit {
				entries, older = entries[:limit], len(entries)-limit
			}
			if err := printEntries(cmd.OutOrStdout(), o.output, entries); err != nil {
				return err
			}
			if len(entries) > 0 && o.output == "table" {
				fmt.Fprintf(cmd.ErrOrStderr(), "contactsync: the first of them, with the API's words: %s --answer\n", contactsync.Commands{Settings: o.file}.ShowDeadLetter(entries[0].Record.Position))
			}
			if older > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "contactsync: %d older dead letters are not shown: raise --limit\n", older)
			}
			return nil
		},
	}
	o.flags(cmd)
	o.filters(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "list at most this many dead letters; 0 for all")
	return cmd
}

func printEntries(w io.Writer, output string, entries []*deadletter.Entry) error {
	if output == "json" {
		for _, e := range entries {
			if err := printJSON(w, jsonOf(e)); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FAILED\tREASON\tSTATUS\tREPLAYS\tSTREAM\tCONTACT\tPOSITION\tDETAIL")
	for _, e := range entries {
		status := "-"
		if e.Status != 0 {
			status = fmt.Sprint(e.Status)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", stamp(e.Failed()), clean(string(e.Reason)), status, replays(e), clean(e.Stream), clean(e.Contact), clean(e.Record.String()), clean(e.Detail))
	}
	return t.Flush()
}

// replays is how often the record was replayed already.
func replays(e *deadletter.Entry) int {
	origin, _ := event.ReadOrigin(e.Record) // with a broken header 0; a replay refuses it
	return origin.Count
}

func dlqShowCommand(environ []string) *cobra.Command {
	o := dlqOptions{environ: environ}
	var parts shown
	cmd := &cobra.Command{
		Use:   "show <topic/partition@offset>",
		Short: "Show one dead letter, named by the position of its record",
		Long: `Show prints everything that is known of a dead letter except what may name people: the
record's key, value and headers, which are printed with --value, and what the API wrote of
it, which is printed with --answer.`,
		Example: "  contactsync dlq show -c contactsync.yaml contacts/3@1207 --answer",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one dead letter by its position, as dlq list prints it: topic/partition@offset")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := contactsync.ParsePosition(args[0])
			if err != nil {
				return usage("%w", err)
			}
			d, err := o.open(cmd)
			if err != nil {
				return err
			}
			defer d.Close()
			c, err := o.read(cmd.Context(), cmd, d, deadletter.Selection{Record: at}, parts.value)
			if err != nil {
				return err
			}
			if len(c.Entries) == 0 {
				return fmt.Errorf("no dead letter holds record %v: dlq list prints those that exist", at)
			}
			return printEntry(cmd.OutOrStdout(), o.output, c.Entries[0], parts)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&parts.value, "value", false, "also print the record's key, value and headers, which are personal data")
	cmd.Flags().BoolVar(&parts.answer, "answer", false, "also print what the API wrote of it last, which may name people")
	return cmd
}

// shown is what show prints beyond what may be known to everybody.
type shown struct{ value, answer bool }

// recordJSON is what show adds.
type recordJSON struct {
	entryJSON

	RecordTime *time.Time           `json:"record_time,omitempty"`
	Positions  []string             `json:"positions"` // of all its events, as ranges where they are consecutive
	Envelope   *deadletter.Envelope `json:"envelope,omitempty"`
	Headers    []string             `json:"header_names,omitempty"`
	Key        *string              `json:"key,omitempty"`
	Value      json.RawMessage      `json:"value,omitempty"` // as it is where it is JSON, else a string
	Values     map[string]string    `json:"headers,omitempty"`
	Answer     *string              `json:"answer,omitempty"`
}

func printEntry(w io.Writer, output string, e *deadletter.Entry, parts shown) error {
	positions, _ := deadletter.FormatPositions(e.Positions, 64<<10)
	if output == "json" {
		r := recordJSON{entryJSON: jsonOf(e), RecordTime: known(e.Record.Time), Positions: strings.FieldsFunc(positions, func(r rune) bool { return r == ',' })}
		if e.Envelope != nil {
			envelope := *e.Envelope
			if !parts.value {
				envelope.Head = nil
			}
			r.Envelope = &envelope
		}
		for _, h := range e.Record.Headers {
			r.Headers = append(r.Headers, h.Key)
		}
		if parts.answer {
			r.Answer = new(e.Answer.Reveal())
		}
		if parts.value {
			key := string(e.Record.Key)
			r.Key, r.Values = &key, map[string]string{}
			for _, h := range e.Record.Headers {
				r.Values[h.Key] = string(h.Value)
			}
			r.Value = e.Record.Value
			if !json.Valid(r.Value) || !utf8.Valid(r.Value) {
				r.Value, _ = json.Marshal(string(e.Record.Value)) // of a string: it cannot fail
			}
		}
		return printJSON(w, r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, text string) { fmt.Fprintf(t, "%s\t%s\n", name, text) }
	line("position", clean(e.Record.String()))
	line("reason", clean(string(e.Reason)))
	line("detail", clean(e.Detail))
	if parts.answer {
		line("answer", clean(e.Answer.Reveal()))
	}
	line("stream", clean(e.Stream))
	line("contact", clean(e.Contact))
	line("status", fmt.Sprint(e.Status))
	line("attempts", fmt.Sprint(e.Attempts))
	line("first failure", stamp(e.First))
	line("last failure", stamp(e.Last))
	line("record time", stamp(e.Record.Time))
	line("events", fmt.Sprintf("%d: %s", len(e.Positions)+e.PositionsLeft, clean(positions)))
	line("replays", fmt.Sprint(replays(e)))
	line("dead letter", fmt.Sprintf("%v, written %s, copies: %d", e.At, stamp(e.Written), e.Copies))
	if v := e.Envelope; v != nil {
		line("truncated", fmt.Sprintf("the record's %d bytes were too large for the topic; sha256 %s", v.Size, clean(v.SHA256)))
	}
	if e.HeadersLeft > 0 {
		line("headers left out", fmt.Sprint(e.HeadersLeft))
	}
	for _, h := range e.Record.Headers {
		if parts.value {
			line("header "+clean(h.Key), clean(string(h.Value)))
		} else {
			line("header "+clean(h.Key), fmt.Sprintf("%d bytes", len(h.Value)))
		}
	}
	if err := t.Flush(); err != nil || !parts.value {
		return err
	}
	body := e.Record.Value
	if e.Envelope != nil {
		body = e.Envelope.Head
	}
	_, err := fmt.Fprintf(w, "key: %s\nvalue:\n%s\n", clean(string(e.Record.Key)), clean(string(body)))
	return err
}

func dlqStatsCommand(environ []string) *cobra.Command {
	o := dlqOptions{environ: environ}
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count dead letters by reason, stream and source partition",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, sel, err := o.choose(cmd)
			if err != nil {
				return err
			}
			defer d.Close()
			c, err := o.read(cmd.Context(), cmd, d, sel, false)
			if err != nil {
				return err
			}
			return printStats(cmd.OutOrStdout(), o.output, statsOf(c))
		},
	}
	o.flags(cmd)
	o.filters(cmd)
	return cmd
}

// statsJSON is the counts of a topic. Its names are stable.
type statsJSON struct {
	Entries    int            `json:"dead_letters"`
	Copies     int            `json:"further_copies"` // of those, beyond the first
	Events     int            `json:"events"`         // that the dead letters end
	First      *time.Time     `json:"first_failure,omitempty"`
	Last       *time.Time     `json:"last_failure,omitempty"`
	Reasons    map[string]int `json:"reasons"`
	Streams    map[string]int `json:"streams"`
	Partitions map[string]int `json:"partitions"`
	Others     int            `json:"other_messages"` // that are not dead letters
	Unreadable map[string]int `json:"unreadable"`
}

func statsOf(c deadletter.Contents) statsJSON {
	s := statsJSON{
		Entries: len(c.Entries), Reasons: map[string]int{}, Streams: map[string]int{}, Partitions: map[string]int{},
		Others: c.Others, Unreadable: map[string]int{},
	}
	for why, p := range c.Problems {
		s.Unreadable[why] = p.Messages
	}
	for i, e := range c.Entries {
		s.Copies += e.Copies - 1
		s.Events += len(e.Positions) + e.PositionsLeft
		s.Reasons[string(e.Reason)]++
		s.Streams[e.Stream]++
		s.Partitions[e.Record.TopicPartition.String()]++
		if i == 0 {
			s.First = known(e.Failed())
		}
		s.Last = known(e.Failed())
	}
	return s
}

// shownStreams is how many streams a table names; json has all of them.
const shownStreams = 20

func printStats(w io.Writer, output string, s statsJSON) error {
	if output == "json" {
		return printJSON(w, s)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "dead letters\t%d\nevents in them\t%d\nfurther copies\t%d\n", s.Entries, s.Events, s.Copies)
	if s.Last != nil {
		fmt.Fprintf(t, "first failure\t%s\nlast failure\t%s\n", stamp(*s.First), stamp(*s.Last))
	}
	fmt.Fprintf(t, "other messages\t%d\n", s.Others)
	unreadable := 0
	for _, n := range s.Unreadable {
		unreadable += n
	}
	fmt.Fprintf(t, "unreadable messages\t%d\n", unreadable)
	for _, part := range []struct {
		title  string
		counts map[string]int
		most   int
	}{{"REASON", s.Reasons, 0}, {"STREAM", s.Streams, shownStreams}, {"PARTITION", s.Partitions, 0}} {
		fmt.Fprintf(t, "\n%s\tDEAD LETTERS\n", part.title)
		names := slices.SortedFunc(maps.Keys(part.counts), func(a, b string) int {
			return cmp.Or(cmp.Compare(part.counts[b], part.counts[a]), cmp.Compare(a, b))
		})
		rest := 0
		for i, name := range names {
			n := part.counts[name]
			if part.most > 0 && i >= part.most {
				rest += n
				continue
			}
			if name == "" {
				name = "(none)"
			}
			fmt.Fprintf(t, "%s\t%d\n", clean(name), n)
		}
		if rest > 0 {
			fmt.Fprintf(t, "(%d others)\t%d\n", len(names)-part.most, rest)
		}
	}
	return t.Flush()
}
