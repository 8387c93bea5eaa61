package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/admin"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/terminal"
)

func statusCommand(environ []string) *cobra.Command {
	var asked replica
	var watch bool
	output := "text"
	cmd := &cobra.Command{
		Use:   "status",
		Short: "What a running replica does: flow, partitions, calls, holds",
		Long: `Status asks a replica what it does, twice within a second, so that it can tell rates.
The same is on the page at / of its admin port.

With --watch it goes on until it is interrupted: in a terminal the screen is drawn
anew each second. Elsewhere it prints a line at once, one when a state changes, and
one every ten seconds.`,
		Example: "  contactsync status --admin 127.0.0.1:8080\n  kubectl exec POD -- /contactsync status --config /etc/contactsync/contactsync.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output, "text"); err != nil {
				return err
			}
			ask := func() (text []byte, s app.Status, err error) {
				if text, err = asked.ask(cmd, environ, http.MethodGet, admin.StatusPath, url.Values{}, http.StatusOK); err != nil {
					return nil, s, err
				}
				if err := json.Unmarshal(text, &s); err != nil {
					return nil, s, fmt.Errorf("read the replica's status: %w", err)
				}
				return text, s, nil
			}
			out := cmd.OutOrStdout()
			if watch {
				return watchStatus(cmd.Context(), out, output == "json", ask)
			}
			text, before, err := ask()
			if err != nil {
				return err
			}
			if output == "json" {
				_, err := out.Write(text)
				return err
			}
			select {
			case <-time.After(time.Second):
			case <-cmd.Context().Done():
				return nil
			}
			_, now, err := ask()
			if err != nil {
				return err
			}
			_, err = io.WriteString(out, statusText(&before, &now, terminal.Width(out), 0))
			return err
		},
	}
	asked.flags(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on until interrupted")
	cmd.Flags().StringVarP(&output, "output", "o", output, "text, or json")
	return cmd
}

// statusLists bounds each list in a terminal.
const statusLists = 10

// statusText writes a status for a person, with rates since the one before. No line is
// longer than width, and there are no more than height; 0 is no bound. Where they are too many the
// lists are shorter, and then what comes last is left out.
func statusText(before, now *app.Status, width, height int) string {
	for rows := statusLists; ; rows-- {
		text := cut(statusOf(before, now, width, rows), width)
		if n := strings.Count(text, "\n"); height <= 0 || n <= height {
			return text
		}
		if rows == 1 {
			return strings.Join(strings.SplitAfterN(text, "\n", height+1)[:height], "")
		}
	}
}

// statusOf is a status with so many rows of each list.
func statusOf(before, now *app.Status, width, rows int) string {
	var b strings.Builder
	state := "ready"
	if now.NotReady != "" {
		state = "not ready"
	}
	fmt.Fprintf(&b, "contactsync %s, %s, up for %s\n%s\n", clean(now.Version), state, app.Span(now.Time.Sub(now.Started)), terminal.Wrap(clean(now.Headline.Text), width, ""))

	t := newTable(&b, "", "NOW", "SINCE THE START")
	flow := func(name string, old, count int64) {
		t.row(name, rate(before, now, old, count), fmt.Sprint(count))
	}
	flow("events read", sum(before.Flow.Records), sum(now.Flow.Records))
	flow("events completed", sum(before.Flow.Events), sum(now.Flow.Events))
	flow("dead letters", before.Flow.Events["dead_letter"], now.Flow.Events["dead_letter"])
	flow("calls", calls(before, "", ""), calls(now, "", ""))
	t.end(0)

	t = newTable(&b, "ACCOUNT", "STATE", "ENDS IN", "SHARE OF THE BUDGET")
	accounts := slices.Sorted(maps.Keys(now.Gates))
	for _, account := range accounts[:min(len(accounts), rows)] {
		g := now.Gates[account]
		share := "no limit"
		if g.Window > 0 {
			share = fmt.Sprintf("%.4g calls in %s", g.Share, app.Span(time.Duration(g.Window*float64(time.Second))))
		}
		t.row(clean(account), g.State, until(now, g.Until), share)
	}
	t.end(len(accounts) - rows)

	t = newTable(&b, "CALLS SINCE THE START", "DELIVERY", "RETRY", "ISOLATION", "PROBE")
	for _, account := range accounts[:min(len(accounts), rows)] {
		row := []string{clean(account)}
		for _, purpose := range []string{"delivery", "retry", "isolation", "probe"} {
			row = append(row, fmt.Sprint(calls(now, account, purpose)))
		}
		t.row(row...)
	}
	t.end(0)

	partitions := slices.Clone(now.Partitions)
	slices.SortStableFunc(partitions, func(a, b consumer.Partition) int { // those that are not read first, then by age
		return cmp.Or(cmp.Compare(rank(a.State.Read()), rank(b.State.Read())), cmp.Compare(rank(a.Oldest.IsZero()), rank(b.Oldest.IsZero())), a.Oldest.Compare(b.Oldest))
	})
	t = newTable(&b, "PARTITION", "STATE", "FOR", "LAG", "OLDEST", "WHY")
	for i := range partitions[:min(len(partitions), rows)] {
		p := &partitions[i]
		lag := "unknown"
		if p.Lag >= 0 {
			lag = fmt.Sprint(p.Lag)
		}
		t.row(fmt.Sprintf("%s/%d", clean(p.Topic), p.Partition), string(p.State), since(now, p.Since), lag, since(now, p.Oldest), clean(p.Reason))
	}
	t.end(len(partitions) - rows)

	t = newTable(&b, "UNREADABLE BATCH", "LAST", "REASON", "BYTES", "SHA-256")
	for i := range partitions[:min(len(partitions), rows)] {
		p := &partitions[i]
		if bad := p.Unreadable; bad != nil {
			last := "unknown"
			if bad.Last >= 0 {
				last = fmt.Sprint(bad.Last)
			}
			t.row(fmt.Sprintf("%s/%d@%d", clean(p.Topic), p.Partition, bad.First), last, clean(bad.Reason), fmt.Sprint(bad.Bytes), clean(bad.SHA256))
		}
	}
	t.end(0)

	t = newTable(&b, "STREAM", "ACCOUNT", "CONTACTS", "OLDEST", "WAITS FOR", "ENDS IN")
	for _, st := range now.Window.Busiest[:min(len(now.Window.Busiest), rows)] {
		t.row(clean(st.Stream), clean(st.Account), fmt.Sprint(st.Contacts), since(now, st.Oldest), st.WaitsFor, until(now, st.Until))
	}
	t.end(now.Window.Streams - rows)

	t = newTable(&b, "DEAD LETTER", "REASON", "EVENTS", "WRITTEN")
	for _, l := range now.DeadLetters[:min(len(now.DeadLetters), (rows+1)/2)] {
		t.row(clean(l.Position), string(l.Reason), fmt.Sprint(l.Events), since(now, l.At)+" ago")
	}
	t.end(0)
	if len(now.DeadLetters) > 0 && rows == statusLists { // else there is no room
		fmt.Fprintf(&b, "to see the newest:\n%s\n", onLines(clean(now.DeadLetters[0].Command), width))
	}
	return b.String()
}

// rate is how fast a count grows; "-" where that is not known.
func rate(before, now *app.Status, old, count int64) string {
	seconds := now.Time.Sub(before.Time).Seconds()
	if seconds <= 0 || !before.Started.Equal(now.Started) {
		return "-"
	}
	return fmt.Sprintf("%.1f/s", float64(count-old)/seconds)
}

// table writes rows under their titles, and nothing where there are none.
type table struct {
	w    *tabwriter.Writer
	head []string
	rows int
}

func newTable(out io.Writer, head ...string) *table {
	return &table{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), head: head}
}

func (t *table) row(cells ...string) {
	if t.rows == 0 {
		fmt.Fprintln(t.w)
		fmt.Fprintln(t.w, strings.Join(t.head, "\t"))
	}
	t.rows++
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

// end writes the table, and how many rows were left out.
func (t *table) end(left int) {
	if left > 0 {
		fmt.Fprintf(t.w, "and %d more\n", left)
	}
	_ = t.w.Flush() // into a strings.Builder
}

// onLines writes a command on two lines, as a shell takes it, where one is too narrow.
func onLines(command string, width int) string {
	if width > 0 && utf8.RuneCountInString(command)+2 > width {
		command = strings.Replace(command, " --config ", " \\\n    --config ", 1)
	}
	return "  " + command
}

// cut ends each line at the edge of the terminal.
func cut(text string, width int) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		if utf8.RuneCountInString(line) > width {
			line = string([]rune(line)[:width-1]) + "…"
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// rank puts what is false before what is true.
func rank(later bool) int {
	if later {
		return 1
	}
	return 0
}

func sum(counts map[string]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// calls is how many there were, of one account and purpose where they are named.
func calls(s *app.Status, account, purpose string) (n int64) {
	for _, r := range s.Flow.Requests {
		if (account == "" || r.Account == account) && (purpose == "" || r.Purpose == purpose) {
			n += r.Count
		}
	}
	return n
}

func since(s *app.Status, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return app.Span(s.Time.Sub(at))
}

func until(s *app.Status, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return app.Span(at.Sub(s.Time))
}
