package main

import (
	"encoding/json"
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

func explainCommand(environ []string) *cobra.Command {
	var asked replica
	var addresses []string
	asJSON := false
	cmd := &cobra.Command{
		Use:   "explain STREAM CONTACT",
		Short: "The story of one contact: its last events, and what became of each",
		Long: `Explain tells what is known of one contact: its events by position, what each waits for and
until when, when it was sent and what was answered, or where it was set aside. It shows
nothing of the contact itself.

A replica knows of the partitions that it owns: name several by --admin to ask all of
them. It answers its own machine only, and users of admin.web_config_file: run the command
in the replica's pod, or forward its port.`,
		Example: "  contactsync explain st-0019 6964af60450340957c61a2b3 --config contactsync.yaml",
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
		RunE: func(cmd *cobra.Command, args []string) error {
			story := explain.New(time.Now(), args[0], args[1])
			if len(addresses) == 0 {
				addresses = []string{""} // that of the settings
			}
			var last error
			for _, asked.address = range addresses {
				if err := explainBy(cmd, environ, &asked, story); err != nil {
					last = err
				}
			}
			out := cmd.OutOrStdout()
			if asJSON {
				if err := printJSON(out, story); err != nil {
					return err
				}
			} else if _, err := io.WriteString(out, explainText(story, contactsync.Commands{Settings: asked.file}, terminal.Width(out))); err != nil {
				return err
			}
			return last
		},
	}
	asked.ways(cmd)
	cmd.Flags().StringArrayVar(&addresses, "admin", nil, "a replica's admin port as host:port, or as https://host:port; may be repeated; admin.listen of the settings where there is none")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
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
