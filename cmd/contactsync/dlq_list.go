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
		Short: "List dead letters, the newest first",
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
			letters, left := c.Entries, 0
			slices.Reverse(letters)
			if limit > 0 && len(letters) > limit {
				letters, left = letters[:limit], len(letters)-limit
			}
			if err := printLetters(cmd.OutOrStdout(), o.output, letters); err != nil {
				return err
			}
			if left > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "contactsync: %d older letters are not shown: raise --limit\n", left)
			}
			return nil
		},
	}
	o.flags(cmd)
	o.filters(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "how many letters to list at most; 0 for all")
	return cmd
}

func printLetters(w io.Writer, output string, letters []*deadletter.Entry) error {
	if output == "json" {
		for _, f := range letters {
			if err := printJSON(w, jsonOf(f)); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FAILED\tREASON\tSTATUS\tREPLAYS\tSTREAM\tCONTACT\tPOSITION")
	for _, f := range letters {
		status := "-"
		if f.Status != 0 {
			status = fmt.Sprint(f.Status)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", stamp(f.Failed()), clean(string(f.Reason)), status, replays(f), clean(f.Stream), clean(f.Contact), clean(f.Record.String()))
	}
	return t.Flush()
}

// replays is how often the letter's record was replayed already.
func replays(f *deadletter.Entry) int {
	origin, _ := event.ReadOrigin(f.Record) // a broken header counts for none here; a replay refuses it
	return origin.Count
}

func dlqShowCommand(environ []string) *cobra.Command {
	o := dlqOptions{environ: environ}
	value := false
	cmd := &cobra.Command{
		Use:   "show <topic/partition@offset>",
		Short: "Show one dead letter, named by the position of its record",
		Long: `Show prints everything that a dead letter says, but for the record itself: its key,
value and headers are personal data and are printed with --value only. Mind where
the output goes.`,
		Example: "  contactsync dlq show -c contactsync.yaml contacts/3@1207",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one letter by its position, as dlq list prints it: topic/partition@offset")
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
			c, err := o.read(cmd.Context(), cmd, d, deadletter.Selection{Record: at}, value)
			if err != nil {
				return err
			}
			if len(c.Entries) == 0 {
				return fmt.Errorf("no letter of the topic holds record %v: dlq list prints those that there are", at)
			}
			return printLetter(cmd.OutOrStdout(), o.output, c.Entries[0], value)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&value, "value", false, "also print the record's key, value and headers, which are personal data")
	return cmd
}

// recordJSON is what show adds to a letter.
type recordJSON struct {
	letterJSON

	RecordTime *time.Time           `json:"record_time,omitempty"`
	Positions  []string             `json:"positions"` // of all its events, as ranges where they follow each other
	Envelope   *deadletter.Envelope `json:"envelope,omitempty"`
	Headers    []string             `json:"header_names,omitempty"`
	Key        *string              `json:"key,omitempty"`
	Value      json.RawMessage      `json:"value,omitempty"` // as it is where it is JSON, else a string
	Values     map[string]string    `json:"headers,omitempty"`
}

func printLetter(w io.Writer, output string, f *deadletter.Entry, value bool) error {
	positions, _ := deadletter.FormatPositions(f.Positions, 64<<10)
	if output == "json" {
		r := recordJSON{letterJSON: jsonOf(f), RecordTime: known(f.Record.Time), Positions: strings.FieldsFunc(positions, func(r rune) bool { return r == ',' })}
		if f.Envelope != nil {
			e := *f.Envelope
			if !value {
				e.Head = nil
			}
			r.Envelope = &e
		}
		for _, h := range f.Record.Headers {
			r.Headers = append(r.Headers, h.Key)
		}
		if value {
			key := string(f.Record.Key)
			r.Key, r.Values = &key, map[string]string{}
			for _, h := range f.Record.Headers {
				r.Values[h.Key] = string(h.Value)
			}
			r.Value = f.Record.Value
			if !json.Valid(r.Value) || !utf8.Valid(r.Value) {
				r.Value, _ = json.Marshal(string(f.Record.Value)) // of a string: it cannot fail
			}
		}
		return printJSON(w, r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, text string) { fmt.Fprintf(t, "%s\t%s\n", name, text) }
	line("position", clean(f.Record.String()))
	line("reason", clean(string(f.Reason)))
	line("detail", clean(f.Detail))
	line("stream", clean(f.Stream))
	line("contact", clean(f.Contact))
	line("status", fmt.Sprint(f.Status))
	line("attempts", fmt.Sprint(f.Attempts))
	line("first failure", stamp(f.First))
	line("last failure", stamp(f.Last))
	line("record time", stamp(f.Record.Time))
	line("events", fmt.Sprintf("%d: %s", len(f.Positions)+f.PositionsLeft, clean(positions)))
	line("replays", fmt.Sprint(replays(f)))
	line("letter", fmt.Sprintf("%v, written %s, %d copies", f.At, stamp(f.Written), f.Copies))
	if e := f.Envelope; e != nil {
		line("truncated", fmt.Sprintf("the record's %d bytes were too large for the topic; sha256 %s", e.Size, clean(e.SHA256)))
	}
	for _, h := range f.Record.Headers {
		if value {
			line("header "+clean(h.Key), clean(string(h.Value)))
		} else {
			line("header "+clean(h.Key), fmt.Sprintf("%d bytes", len(h.Value)))
		}
	}
	if err := t.Flush(); err != nil || !value {
		return err
	}
	body := f.Record.Value
	if f.Envelope != nil {
		body = f.Envelope.Head
	}
	_, err := fmt.Fprintf(w, "key: %s\nvalue:\n%s\n", clean(string(f.Record.Key)), clean(string(body)))
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

// statsJSON is the numbers of a topic. Names stay as they are.
type statsJSON struct {
	Letters    int            `json:"letters"`
	Copies     int            `json:"further_copies"` // of those letters, beyond the first
	Events     int            `json:"events"`         // that the letters stand for
	First      *time.Time     `json:"first_failure,omitempty"`
	Last       *time.Time     `json:"last_failure,omitempty"`
	Reasons    map[string]int `json:"reasons"`
	Streams    map[string]int `json:"streams"`
	Partitions map[string]int `json:"partitions"`
	NonLetters int            `json:"non_letters"`
	Unreadable map[string]int `json:"unreadable"`
}

func statsOf(c deadletter.Contents) statsJSON {
	s := statsJSON{
		Letters: len(c.Entries), Reasons: map[string]int{}, Streams: map[string]int{}, Partitions: map[string]int{},
		NonLetters: c.Others, Unreadable: map[string]int{},
	}
	for why, p := range c.Problems {
		s.Unreadable[why] = p.Messages
	}
	for i, f := range c.Entries {
		s.Copies += f.Copies - 1
		s.Events += len(f.Positions) + f.PositionsLeft
		s.Reasons[string(f.Reason)]++
		s.Streams[f.Stream]++
		s.Partitions[f.Record.TopicPartition.String()]++
		if i == 0 {
			s.First = known(f.Failed())
		}
		s.Last = known(f.Failed())
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
	fmt.Fprintf(t, "letters\t%d\nevents they stand for\t%d\nfurther copies\t%d\n", s.Letters, s.Events, s.Copies)
	if s.Last != nil {
		fmt.Fprintf(t, "first failure\t%s\nlast failure\t%s\n", stamp(*s.First), stamp(*s.Last))
	}
	fmt.Fprintf(t, "messages that are no letters\t%d\n", s.NonLetters)
	unreadable := 0
	for _, n := range s.Unreadable {
		unreadable += n
	}
	fmt.Fprintf(t, "unreadable letters\t%d\n", unreadable)
	for _, part := range []struct {
		title  string
		counts map[string]int
		most   int
	}{{"REASON", s.Reasons, 0}, {"STREAM", s.Streams, shownStreams}, {"PARTITION", s.Partitions, 0}} {
		fmt.Fprintf(t, "\n%s\tLETTERS\n", part.title)
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
