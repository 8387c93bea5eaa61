package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/setting"
)

func checkCommand(environ []string) *cobra.Command {
	var file string
	var connect, show bool
	var stream string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the settings and print every error at once, with its line",
		Long: `Check reads the settings as run does and prints every error with its line, then
looks at the files that they name. With --connect it also asks the brokers for what
the service's user may do, and each of the API's hosts for one contact with each of
its credentials, which counts against the account's limit; --stream gives it a stream
where the settings name none. It changes nothing. The exit code is 0 when the
service could run, 1 when something that the settings point to is missing, and 2
when the settings themselves are wrong.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			cfg, places, err := loadPlaces(file, environ, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if show {
				text, err := cfg.Redacted()
				if err != nil {
					return err
				}
				_, err = out.Write(text)
				return err
			}
			faults := cfg.CheckFiles()
			tell(out, "error: ", places, faults)
			tell(out, "note: ", places, cfg.Weaknesses())
			var found []app.Finding
			if connect && len(faults) == 0 { // nothing can be asked without them
				cfg.Log.Level = "error" // what it finds is printed below
				found = app.CheckConnect(cmd.Context(), cfg, stream, app.NewLogger(cfg.Log, cmd.ErrOrStderr()))
			}
			for _, f := range found {
				level := "note: "
				if f.Fatal {
					level = "error: "
				}
				tell(out, level, places, []setting.Error{f.Error})
			}
			if len(faults) > 0 || app.Fatal(found) {
				return errReported
			}
			lines := app.Summary(cfg)
			if stream != "" {
				lines = app.ExplainStream(cfg, stream)
			}
			for _, line := range lines {
				fmt.Fprintln(out, line)
			}
			if connect {
				fmt.Fprintln(out, "ok: brokers and hosts answer, and let the service do what it needs")
			} else {
				fmt.Fprintln(out, "ok: settings and files; --connect also asks brokers and hosts, with the credentials")
			}
			return nil
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&connect, "connect", false, "also ask the brokers for topics and rights, and the API's hosts with the credentials")
	cmd.Flags().StringVar(&stream, "stream", "", "say which account and credentials take a stream, and why; --connect asks for it")
	cmd.Flags().BoolVar(&show, "print", false, "print the settings in force, from file, environment and defaults")
	return cmd
}
