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
)

// decisionTimeout bounds the answer of a replica, which only notes the decision.
const decisionTimeout = 10 * time.Second

// replica is the one that a command is about, as its flags say.
type replica struct{ file, address string }

func (r *replica) flags(cmd *cobra.Command) {
	configFlag(cmd, &r.file)
	cmd.Flags().StringVar(&r.address, "admin", "", "the replica's admin port as host:port; admin.listen of the settings where it is empty")
}

// decide has the replica take an operator's decision about a partition.
func (r *replica) decide(cmd *cobra.Command, environ []string, path string, p contactsync.TopicPartition, values url.Values) error {
	address := r.address
	if address == "" {
		cfg, err := load(r.file, environ, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		address = cfg.Admin.Listen
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return usage("--admin %q is not host:port", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() { // it listens everywhere
		host = "127.0.0.1"
	}
	values.Set("topic", p.Topic)
	values.Set("partition", strconv.Itoa(int(p.Partition)))
	target := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: path, RawQuery: values.Encode()}
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, target.String(), http.NoBody)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Timeout: decisionTimeout}).Do(req)
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
