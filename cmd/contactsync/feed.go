package main

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/admin"
)

func feedCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "feed",
		Short: "Partitions whose events cannot be read",
	}
	group(cmd)
	cmd.AddCommand(feedResumeCommand(environ))
	return cmd
}

func feedResumeCommand(environ []string) *cobra.Command {
	var asked replica
	var records int64
	var untilReadable bool
	cmd := &cobra.Command{
		Use:   "resume TOPIC/PARTITION",
		Short: "Have a partition go on that halted because most of its events cannot be read",
		Long: `Resume is an operator's decision about a partition in the state feed_halted. Without
a flag it is tried again, as after the producer or the settings were corrected: where
most events still cannot be read, it halts again, after at least 20 of them.
With --records the next N offsets pass, and with --until-readable all do until 90 of the
last 100 events can be read: each event of these that cannot be read becomes a dead
letter, and the others are sent as usual. The decision outlives restarts.

The replica that owns the partition must run; its log and its /status name it. Run the
command in that replica's pod, or forward its port: a decision is taken from the
replica's own machine only.`,
		Example: "  contactsync feed resume contacts/3 --config contactsync.yaml\n  contactsync feed resume contacts/3 --records 50000 --config contactsync.yaml",
		Args:    oneArg("TOPIC/PARTITION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := contactsync.ParseTopicPartition(args[0])
			if err != nil {
				return usage("read %q: %w: want topic/partition", args[0], err)
			}
			named := cmd.Flags().Changed("records")
			switch {
			case named && untilReadable:
				return usage("--records and --until-readable exclude each other")
			case named && records < 1:
				return usage("--records %d must be at least 1", records)
			}
			if err := asked.decide(cmd, environ, admin.ResumeFeedPath, about(p, url.Values{
				"records": {strconv.FormatInt(records, 10)}, "until_readable": {strconv.FormatBool(untilReadable)},
			})); err != nil {
				return err
			}
			how := "it halts again where most of its events still cannot be read"
			switch {
			case untilReadable:
				how = "events that cannot be read become dead letters until most can be read"
			case named:
				how = fmt.Sprintf("of the next %d offsets, events that cannot be read become dead letters", records)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s goes on: %s; /status shows its state\n", clean(p.String()), how)
			return nil
		},
	}
	asked.flags(cmd)
	cmd.Flags().Int64Var(&records, "records", 0, "how many offsets pass, whatever is there")
	cmd.Flags().BoolVar(&untilReadable, "until-readable", false, "let all events pass until most can be read again")
	return cmd
}
