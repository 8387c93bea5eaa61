package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/admin"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/explain"
	"github.com/contactsync/contactsync/internal/terminal"
)

// explainOptions are the flags of explain.
type explainOptions struct {
	environ   []string
	asked     replica
	addresses []string
	output    string

	topics  bool
	since   string
	records int64
	events  int
	key     string
}

func explainCommand(environ []string) *cobra.Command {
	o := explainOptions{environ: environ}
	cmd := &cobra.Command{
		Use:   "explain STREAM CONTACT",
		Short: "The story of one contact: its last events, and what became of each",
		Long: `Explain tells what is known of one contact: its events by position, what each waits for and
until when, when it was sent and what was answered, or where it was set aside, and what is
committed. It shows nothing of the contact itself.

A replica knows of the partitions that it owns: name several by --admin to ask all of
them. It answers its own machine only, and users of admin.web_config_file: run the command
in the replica's pod, or forward its port.

With --topics, or where no replica knows of the contact and the settings are there, the
topics are read too: the newest records of each partition of consumer.topics, the
dead-letter topic, and what the group has committed. That joins no group and commits
nothing.`,
		Example: "  contactsync explain st-0019 6964af60450340957c61a2b3 --config contactsync.yaml\n" +
			"  contactsync explain st-0019 6964af60450340957c61a2b3 --config contactsync.yaml --topics --since 24h",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("%s takes two arguments, STREAM and CONTACT: %q", cmd.CommandPath(), args)
			}
			for _, name := range args {
				if !contactsync.IsName(name) {
					return usage("%q is no id of a stream or a contact: those match %s", name, contactsync.NamePattern)
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1]) },
	}
	o.asked.ways(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&o.addresses, "admin", nil, "a replica's admin port as host:port, or as https://host:port; may be repeated; admin.listen of the settings where there is none")
	f.StringVarP(&o.output, "output", "o", "text", "text, or json: one object")
	f.BoolVar(&o.topics, "topics", false, "read the topics, whatever the replicas know")
	f.StringVar(&o.since, "since", "", "of the topics, only records from this time on: RFC 3339, or how long ago, like 2h")
	f.Int64Var(&o.records, "records", 1_000_000, "of each topic, only so many of the newest records; 0: all")
	f.IntVar(&o.events, "events", 20, "only so many of the contact's newest events, in each partition; those that are not completed are shown besides")
	f.StringVar(&o.key, "key", "", "the key of the contact's records, where it is one text: only the partition is read that it leads to")
	return cmd
}

func (o *explainOptions) run(cmd *cobra.Command, stream, contact string) error {
	now := time.Now()
	within := explain.Bounds{Records: o.records, Events: o.events, Key: o.key}
	var err error
	if within.Since, err = when("--since", o.since, now); err != nil {
		return err
	}
	if err := checkOutput(o.output, "text"); err != nil {
		return err
	}
	if o.events < 1 || o.records < 0 {
		return usage("--events must be at least 1, and --records at least 0")
	}
	story := explain.New(now, stream, contact)
	if len(o.addresses) == 0 {
		o.addresses = []string{""} // that of the settings
	}
	for _, o.asked.address = range o.addresses {
		if failed := explainBy(cmd, o.environ, &o.asked, story); errors.Is(failed, errSettings) || errors.Is(failed, errUsage) {
			return failed
		} else if failed != nil {
			err = failed
		}
	}
	if o.topics || !story.Known() && o.asked.file != "" {
		if err = o.read(cmd, story, within); err != nil {
			return err
		}
	}
	out := cmd.OutOrStdout()
	if o.output == "json" {
		return errors.Join(err, printJSON(out, story))
	}
	_, failed := io.WriteString(out, explainText(story, contactsync.Commands{Settings: o.asked.file}, terminal.Width(out)))
	return errors.Join(err, failed)
}

// read adds what the topics have.
func (o *explainOptions) read(cmd *cobra.Command, story *explain.Story, within explain.Bounds) error {
	cfg, err := load(o.asked.file, o.environ, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	cfg.Log.Level, cfg.Log.Format = "error", "text" // for a person
	topics, err := explain.Open(cfg, app.NewLogger(cfg.Log, cmd.ErrOrStderr()))
	if err != nil {
		return err
	}
	defer topics.Close()
	return topics.Tell(cmd.Context(), story, within)
}

// explainBy adds what one replica knows.
func explainBy(cmd *cobra.Command, environ []string, asked *replica, story *explain.Story) error {
	target, err := asked.url(environ, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	text, err := asked.ask(cmd, environ, http.MethodGet, admin.ExplainPath, url.Values{"stream": {story.Stream}, "contact": {story.Contact}}, http.StatusOK)
	if err != nil {
		story.Failed(target.Host, err)
		return err
	}
	var e app.Explanation
	if err := json.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("read what the replica at %s knows: %w", target.Host, err)
	}
	story.Told(target.Host, &e)
	return nil
}
