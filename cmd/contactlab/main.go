// Command contactlab runs what contactsync needs around it: a stand-in for the
// API that misbehaves on demand, a source of events, a broker inside the process,
// and a check that holds a run against the truth. The service needs none of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// errUsage says that the command line asks for what makes no sense.
var errUsage = errors.New("wrong usage")

// run is the program without its process: exit code 0 when it did what was
// asked, 1 when it could not, 2 when the command line is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "contactlab",
		Short:         "An API, a feed and a checker to try contactsync with",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(demoCommand(), stubCommand(), produceCommand(), brokerCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "contactlab:", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}
