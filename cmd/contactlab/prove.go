package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/config"
)

// proveOptions say how a proof runs.
type proveOptions struct {
	small  bool   // for tests: everything happens, on a smaller scale
	root   string // of the repository, for the corpora
	bug    string
	only   string               // plays the answers of rows with this text alone, in tests
	change func(*config.Config) // alters the settings, in tests
	log    *slog.Logger         // of the service; nil: thrown away
	limit  time.Duration
}

// errProof says that the service did not do what the proof asks for; what, has been printed.
var errProof = errors.New("not proved")

// proofs are the subcommands.
var proofs = []struct {
	name, short, long string
	limit             time.Duration
	run               func(context.Context, proveOptions, io.Writer) error
}{
	{
		"answers", "Play every answer of the table to the service, and see what becomes of the events",
		`Answers takes every row of the table in docs/answers.md, has an API answer so
over a real socket, once or until the service has done with it, and then behave;
and holds against the row what the service counted, how often it called, how long
it waited, and what became of each event.`, 2 * time.Minute, proveAnswers,
	},
	{
		"poison", "Mix every kind of bad event and bad answer into healthy traffic, and see whether that suffers",
		`Poison runs healthy traffic of two accounts twice: alone, and with all bad events
and all bad answers of the corpora in it, and with rows that the API refuses. The
healthy events must all arrive, and hardly older than without the poison; each bad
one must be a dead letter with its reason; finding it may cost few calls only.`, 3 * time.Minute, provePoison,
	},
	{
		"outage", "Take the API away for an hour, on a scale, while events arrive",
		`Outage lets two replicas of the service live through an hour without the API (errors,
a closed port, silence) and ten minutes in which it refuses the credentials, with
every wait of the service scaled down as the hour is. Nothing may become a dead
letter, no partition may change hands, memory stays in its bounds, calls are few,
and all drains by itself.`, 2 * time.Minute, proveOutage,
	},
}

func proveCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:   "prove",
		Short: "Run the whole service in one process against one kind of trouble, and judge it",
		Long: `Prove runs the service, wired as in production, on an embedded broker and against
an API that misbehaves on real sockets. A machine judges what came out: the exit
code is 0 when everything holds and 1 when something does not.`,
	}
	for _, p := range proofs {
		o := proveOptions{}
		var logFile string
		cmd := &cobra.Command{
			Use: p.name, Short: p.short, Long: p.long + "\n\nTo see it fail, plant a bug:\n" + bugList(), Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				log, closeLog, err := demoLog(logFile)
				if err != nil {
					return err
				}
				defer closeLog()
				o.log = log
				return p.run(cmd.Context(), o, cmd.OutOrStdout())
			},
		}
		cmd.Flags().BoolVar(&o.small, "small", false, "a smaller scale")
		cmd.Flags().StringVar(&o.root, "root", ".", "root of the repository, where the corpora are")
		cmd.Flags().StringVar(&o.bug, "plant", "", "plant a bug for the proof to find")
		cmd.Flags().DurationVar(&o.limit, "limit", p.limit, "fail when it takes longer")
		cmd.Flags().StringVar(&logFile, "log", "", "write the service's log to this file")
		parent.AddCommand(cmd)
	}
	return parent
}

// proof collects what is found and prints it as a table.
type proof struct {
	out    io.Writer
	w      *tabwriter.Writer
	faults []string
}

// line prints a figure that is not judged.
func (p *proof) line(name string, before, with any, note string) {
	fmt.Fprintf(p.w, "%s\t%v\t%v\t%s\n", name, before, with, note)
}

// check prints a figure, and what was asked for.
func (p *proof) check(name string, ok bool, before, with any, want string) {
	verdict := "ok: "
	if !ok {
		verdict = "WRONG: "
		p.faults = append(p.faults, fmt.Sprintf("%s: %v, %s", strings.TrimSpace(name), with, want))
	}
	p.line(name, before, with, verdict+want)
}

// end prints the table, the faults and a last line, and returns errProof where there is a fault.
func (p *proof) end(format string, args ...any) error {
	_ = p.w.Flush() // out is a person's terminal
	for _, f := range p.faults {
		fmt.Fprintln(p.out, "VIOLATION  "+f)
	}
	fmt.Fprintf(p.out, "\n%d violations; %s\n", len(p.faults), fmt.Sprintf(format, args...))
	if len(p.faults) > 0 {
		return errProof
	}
	return nil
}
