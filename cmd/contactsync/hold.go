package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/admin"
	"github.com/contactsync/contactsync/internal/app"
)

func holdCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "Streams on hold: which they are, and what is to become of them",
	}
	group(cmd)
	cmd.AddCommand(holdListCommand(environ), holdReleaseCommand(environ), holdSetAsideCommand(environ))
	return cmd
}

func holdListCommand(environ []string) *cobra.Command {
	var asked replica
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the streams that a replica has on hold, the oldest hold first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output, "table"); err != nil {
				return err
			}
			text, err := asked.ask(cmd, environ, http.MethodGet, "/status", url.Values{}, http.StatusOK)
			if err != nil {
				return err
			}
			var s app.Status
			if err := json.Unmarshal(text, &s); err != nil {
				return fmt.Errorf("read the replica's /status: %w", err)
			}
			if err := printHolds(cmd.OutOrStdout(), output, &s); err != nil {
				return err
			}
			if len(s.Window.Holds) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "contactsync: this replica has no stream on hold")
			}
			if more := s.Window.HoldsLeft; more > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "contactsync: %d younger holds are not shown\n", more)
			}
			return nil
		},
	}
	asked.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, or json: one object a line")
	return cmd
}

// printHolds writes a line of numbers for each hold, which fits a terminal, and what the API said below it.
func printHolds(w io.Writer, output string, s *app.Status) error {
	holds := s.Window.Holds
	if output == "json" {
		for i := range holds {
			if err := printJSON(w, holds[i]); err != nil {
				return err
			}
		}
		return nil
	}
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STREAM\tACCOUNT\tKIND\tFOR\tCONTACTS\tEVENTS\tPARKED\tPROBE IN")
	for i := range holds {
		h := &holds[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", clean(h.Stream), clean(h.Account), clean(h.Kind), since(s, h.Since), h.Contacts, h.Events, h.Parked, until(s, h.NextProbe))
	}
	_ = t.Flush() // into a strings.Builder
	head, rows, _ := strings.Cut(table.String(), "\n")
	fmt.Fprintln(w, head)
	for i, row := range strings.Split(strings.TrimSuffix(rows, "\n"), "\n")[:len(holds)] {
		h := &holds[i]
		if _, err := fmt.Fprintf(w, "%s\n  status %d, %d probes refused: %s\n", row, h.Status, h.Probes, clean(h.Detail)); err != nil {
			return err
		}
	}
	return nil
}

const holdHelp = `

The replica that has the stream on hold must run; hold list and /status name it. Run the
command in that replica's pod, or forward its port: a decision is taken from the
replica's own machine only.`

func holdReleaseCommand(environ []string) *cobra.Command {
	return holdDecisionCommand(environ, &cobra.Command{
		Use:   "release STREAM",
		Short: "End the hold of a stream: it is tried at once",
		Long: `Release is an operator's decision about a stream on hold whose cause is mended: its next
request is made at once, instead of when its next probe is due. Where the API still
refuses it, the stream is on hold again.` + holdHelp,
		Example: "  contactsync hold release st-0019 --config contactsync.yaml",
	}, admin.ReleaseHoldPath, "%s is tried at once; contactsync hold list shows whether it is on hold again\n")
}

func holdSetAsideCommand(environ []string) *cobra.Command {
	reason := ""
	cmd := holdDecisionCommand(environ, &cobra.Command{
		Use:   "set-aside STREAM",
		Short: "Give up what waits in a stream on hold: its contacts become dead letters",
		Long: `Set-aside is an operator's decision about a stream on hold that nobody will mend soon:
the contacts that wait in it become dead letters with the kind of the hold as reason, a
thousand a second, and their offsets are committed. Then the stream is probed at once.
New events come in as usual. When the stream is back, contactsync dlq replay brings back
what was set aside.` + holdHelp,
		Example: "  contactsync hold set-aside st-0019 --reason \"closed in March\" --config contactsync.yaml",
	}, admin.SetHoldAsidePath, "what waits in %s becomes dead letters; /status and contactsync hold list show how far that is\n")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log and the dead letters: one line")
	return cmd
}

// holdDecisionCommand makes a command that has a replica take a decision about one stream
// on hold. It passes on the flag reason where there is one, and prints what was done.
func holdDecisionCommand(environ []string, cmd *cobra.Command, path, done string) *cobra.Command {
	var asked replica
	account := ""
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usage("%s takes one argument, STREAM: %q", cmd.CommandPath(), args)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		values := url.Values{"stream": {args[0]}, "account": {account}}
		if reason := cmd.Flags().Lookup("reason"); reason != nil {
			values.Set("reason", reason.Value.String())
		}
		if err := asked.decide(cmd, environ, path, values); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), done, clean(args[0]))
		return nil
	}
	asked.flags(cmd)
	cmd.Flags().StringVar(&account, "account", "", "the stream's account, where it is on hold in several")
	return cmd
}
