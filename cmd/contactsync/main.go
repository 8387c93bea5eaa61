// Command contactsync keeps Kore.ai contacts in step with a CRM: it reads
// contact-changed events from Kafka, sends them with as few bulk updates as
// possible, and commits an offset only after the answer has been handled.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/crash"
	"github.com/contactsync/contactsync/internal/terminal"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan int, 1)
	go func() { defer crash.Exit(); done <- run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr) }()
	for asked := false; ; asked = true {
		select {
		case code := <-done:
			os.Exit(code)
		case s := <-signals:
			if asked { // the second one: at once; what was not committed is read again
				fmt.Fprintf(os.Stderr, "contactsync: second %v: exiting immediately\n", s)
				os.Exit(1)
			}
			cancel(fmt.Errorf("signal: %v", s))
		}
	}
}

// errUsage says that the command line asks for what makes no sense.
var errUsage = errors.New("wrong usage")

// usage is an errUsage with its words.
func usage(format string, a ...any) error {
	return fmt.Errorf("%w: %w", errUsage, fmt.Errorf(format, a...))
}

// checkOutput refuses an --output that is neither json nor what a command prints for a person.
func checkOutput(output, person string) error {
	if output != person && output != "json" {
		return usage("--output %q is unknown: %s or json", output, person)
	}
	return nil
}

// errReported says that the reason has been printed already.
var errReported = errors.New("reported")

// group makes a command that only has others below it refuse an unknown one.
func group(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := cmd.CommandPath() + " --help lists them"
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return usage("unknown command %q: %s", args[0], hint)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.SuggestionsMinimumDistance = 2
}

// noArgs refuses what stands behind a command that takes flags only.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no argument: %q", cmd.CommandPath(), args)
	}
	return nil
}

// oneArg refuses anything but one argument, which is what the usage calls it.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s takes one argument, %s: %q", cmd.CommandPath(), what, args)
		}
		return nil
	}
}

// run is the program without its process: exit code 0 when it did what was
// asked, 1 when it could not, 2 when the command line or the settings are wrong.
// All that it prints, its log too, goes through one escape, whatever it comes from.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	stdout, stderr = terminal.NewWriter(stdout), terminal.NewWriter(stderr)
	root := &cobra.Command{
		Use:           "contactsync",
		Short:         "Keeps Kore.ai contacts in step with a CRM: Kafka to bulk updates, nothing lost, never out of order",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if !cmd.HasSubCommands() {
			return usage("%w", err)
		}
		if wrong := cmd.ValidateArgs(cmd.Flags().Args()); wrong != nil { // then its flags cannot be known either
			return wrong
		}
		return usage("%w: it belongs to a command, and %s --help lists them", err, cmd.CommandPath())
	})
	group(root)
	root.AddCommand(runCommand(environ), checkCommand(environ), dlqCommand(environ), setAsideCommand(environ), feedCommand(environ), holdCommand(environ), answersCommand(environ), statusCommand(environ), explainCommand(environ), versionCommand())
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSettings):
		return 2
	case errors.Is(err, errReported):
		return 1
	}
	// Further lines are indented, so that none that came from outside looks like one of ours.
	fmt.Fprintln(stderr, "contactsync:", strings.ReplaceAll(err.Error(), "\n", "\n\t"))
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}
