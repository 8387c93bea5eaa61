// Command contactlab has everything to try contactsync without Kafka and without the
// vendor's API: a stub of the API that misbehaves on demand, a source of events, an
// in-memory broker, and a demo of the whole service with a checker. The service
// itself needs none of it.
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

// errUsage is a command line that is wrong.
var errUsage = errors.New("wrong usage")

// run is the program without its process. It returns the exit code: 0 for success,
// 1 for failure, 2 where the command line is wrong, 130 for a demo that was interrupted.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "contactlab",
		Short:         "Try contactsync with a stub of the API, a feed of events and a checker",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(demoCommand(), stubCommand(), vendorCommand(), produceCommand(), brokerCommand())
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errInterrupted):
		return 130 // as a shell says it of a program that an interrupt has ended
	}
	fmt.Fprintln(stderr, "contactlab:", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}
