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

// about adds a partition to the values of a decision.
func about(p contactsync.TopicPartition, values url.Values) url.Values {
	values.Set("topic", p.Topic)
	values.Set("partition", strconv.Itoa(int(p.Partition)))
	return values
}

// decide has the replica take an operator's decision.
func (r *replica) decide(cmd *cobra.Command, environ []string, path string, values url.Values) error {
	_, err := r.ask(cmd, environ, http.MethodPost, path, values, http.StatusAccepted)
	return err
}

// ask returns the replica's answer, which must have the status.
func (r *replica) ask(cmd *cobra.Command, environ []string, method, path string, values url.Values, status int) ([]byte, error) {
	address := r.address
	if address == "" {
		cfg, err := load(r.file, environ, cmd.ErrOrStderr())
		if err != nil {
			return nil, err
		}
		address = cfg.Admin.Listen
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usage("--admin %q is not host:port", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() { // it listens everywhere
		host = "127.0.0.1"
	}
	target := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: path, RawQuery: values.Encode()}
	req, err := http.NewRequestWithContext(cmd.Context(), method, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Timeout: decisionTimeout}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the replica: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != status {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // what came of it is shown
		return nil, fmt.Errorf("the replica at %s refuses (%s): %s", address, res.Status, clean(strings.TrimSpace(string(text))))
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the replica's answer: %w", err)
	}
	return text, nil
}
