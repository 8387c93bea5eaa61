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

func answersCommand(environ []string) *cobra.Command {
	var asked replica
	output := "table"
	cmd := &cobra.Command{
		Use:   "answers [HASH]",
		Short: "What the API wrote, where no dead letter has it",
		Long: `The log and the status show of the API's own words a hash only, as text=a3f91c02, because
they may name people. Answers prints the words behind a hash, or lists the hashes that
the replica has words for, the newest first. A replica keeps the beginning of the last 64
texts, in memory: those of requests that were refused as a whole, as streams on hold
are, and one of each answer that refuses rows. What was written of a dead letter is in
the dead letter: contactsync dlq show TOPIC/PARTITION@OFFSET --answer.

Run the command in the replica's pod, or forward its port, or name a user of its admin
port by --admin-client: nobody else is shown these words.`,
		Example: "  contactsync answers --config contactsync.yaml\n  contactsync answers a3f91c02 --config contactsync.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("%s takes at most one argument, HASH: %q", cmd.CommandPath(), args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output, "table"); err != nil {
				return err
			}
			path := admin.AnswersPath
			if len(args) == 1 {
				hash := strings.TrimPrefix(args[0], "text=") // as details have it
				if strings.Trim(hash, "0123456789abcdef") != "" || hash == "" {
					return usage("%q is no hash: write it as the log and /status have it, like a3f91c02", args[0])
				}
				path += "/" + hash
			}
			text, err := asked.ask(cmd, environ, http.MethodGet, path, url.Values{}, http.StatusOK)
			if err != nil {
				return err
			}
			list := make([]app.Answer, 1)
			if len(args) == 0 {
				err = json.Unmarshal(text, &list)
			} else {
				err = json.Unmarshal(text, &list[0])
			}
			if err != nil {
				return fmt.Errorf("read the replica's answer: %w", err)
			}
			if len(list) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "contactsync: this replica keeps no text of the API")
			}
			switch {
			case output == "json":
				return printAnswersJSON(cmd.OutOrStdout(), list, len(args) == 1)
			case len(args) == 1:
				return printAnswer(cmd.OutOrStdout(), &list[0])
			}
			return printAnswers(cmd.OutOrStdout(), list)
		},
	}
	asked.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", output, "table, or json: one object a line")
	return cmd
}

func printAnswersJSON(w io.Writer, list []app.Answer, withText bool) error {
	for i := range list {
		var v any = list[i].Kept
		if withText {
			v = list[i]
		}
		if err := printJSON(w, v); err != nil {
			return err
		}
	}
	return nil
}

func printAnswers(w io.Writer, list []app.Answer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LAST\tHASH\tACCOUNT\tSTREAM\tKIND\tSTATUS\tTIMES\tBYTES")
	for i := range list {
		a := &list[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", stamp(a.Last), clean(a.Hash), clean(a.Account), clean(a.Stream), clean(a.Kind), a.Status, a.Times, a.Bytes)
	}
	return t.Flush()
}

func printAnswer(w io.Writer, a *app.Answer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, text string) { fmt.Fprintf(t, "%s\t%s\n", name, text) }
	line("hash", clean(a.Hash))
	line("account", clean(a.Account))
	line("stream", clean(a.Stream))
	line("kind", clean(a.Kind))
	line("status", fmt.Sprint(a.Status))
	line("first", stamp(a.First))
	line("last", stamp(a.Last))
	line("times", fmt.Sprint(a.Times))
	size := fmt.Sprint(a.Bytes)
	if len(a.Text) < a.Bytes {
		size += fmt.Sprintf(", of which the first %d are kept", len(a.Text))
	}
	line("bytes", size)
	line("text", clean(a.Text))
	return t.Flush()
}
