package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/admin"
)

// setAsideTimeout bounds the answer of a replica, which only notes the decision.
const setAsideTimeout = 10 * time.Second

func setAsideCommand(environ []string) *cobra.Command {
	var file, address string
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
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%s takes one argument, TOPIC/PARTITION@FIRST: %q", cmd.CommandPath(), args)
			}
			return nil
		},
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
			if address == "" {
				cfg, err := load(file, environ, cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				address = cfg.Admin.Listen
			}
			if err := decide(cmd, address, first, last); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "offsets %d to %d of %v are set aside: /status shows when the partition goes on\n", first.Offset, last, first.TopicPartition)
			return nil
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().Int64Var(&last, "last", -1, "the last offset of the batch")
	cmd.Flags().StringVar(&address, "admin", "", "the replica's admin port as host:port; admin.listen of the settings where it is empty")
	return cmd
}

// decide has the replica at address set a batch aside.
func decide(cmd *cobra.Command, address string, first contactsync.Position, last int64) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return usage("--admin %q is not host:port", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() { // it listens everywhere
		host = "127.0.0.1"
	}
	target := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: admin.SetAsidePath, RawQuery: url.Values{
		"topic": {first.Topic}, "partition": {strconv.Itoa(int(first.Partition))},
		"first": {strconv.FormatInt(first.Offset, 10)}, "last": {strconv.FormatInt(last, 10)},
	}.Encode()}
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, target.String(), http.NoBody)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Timeout: setAsideTimeout}).Do(req)
	if err != nil {
		return fmt.Errorf("ask the replica: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // what came of it is shown
		return fmt.Errorf("the replica at %s refuses (%s): %s", address, res.Status, clean(strings.TrimSpace(string(text))))
	}
	return nil
}
