package main

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/admin"
)

func setAsideCommand(environ []string) *cobra.Command {
	var asked replica
	last := int64(-1)
	cmd := &cobra.Command{
		Use:   "set-aside TOPIC/PARTITION@FIRST --last LAST",
		Short: "Set a record batch aside that cannot be read, so that its halted partition goes on",
		Long: `Set-aside is an operator's decision about one record batch: the events in it are given
up. A dead letter takes its place, with its offsets, the reason, its size and its
SHA-256, and the partition goes on behind it. The replica that owns the partition must
run and be halted at exactly these offsets; its log and its /status name them. Run the
command in that replica's pod, or forward its port: a decision is taken from the
replica's own machine only.`,
		Example: "  contactsync set-aside contacts/3@1200 --last 1249 --config contactsync.yaml",
		Args:    oneArg("TOPIC/PARTITION@FIRST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			first, err := contactsync.ParsePosition(args[0])
			if err != nil {
				return usage("%w", err)
			}
			if !cmd.Flags().Changed("last") {
				return usage("--last is required: the last offset of the batch, as /status says (unreadable)")
			}
			if last < first.Offset {
				return usage("--last %d must be the last offset of the batch, and not before %d", last, first.Offset)
			}
			if err := asked.decide(cmd, environ, admin.SetAsidePath, about(first.TopicPartition, url.Values{
				"first": {strconv.FormatInt(first.Offset, 10)}, "last": {strconv.FormatInt(last, 10)},
			})); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "offsets %d to %d of %s are set aside: /status shows when the partition goes on\n", first.Offset, last, clean(first.TopicPartition.String()))
			return nil
		},
	}
	asked.flags(cmd)
	cmd.Flags().Int64Var(&last, "last", -1, "the last offset of the batch")
	return cmd
}
