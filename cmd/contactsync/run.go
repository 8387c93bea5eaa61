package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/metrics"
)

// errSettings says that the settings are wrong; they have been printed.
var errSettings = errors.New("the settings are wrong")

func runCommand(environ []string) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the service until SIGTERM or SIGINT; a second one exits immediately",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, places, err := loadPlaces(file, environ, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if faults := cfg.CheckFiles(); len(faults) > 0 {
				tell(cmd.ErrOrStderr(), "error: ", places, faults)
				return errReported
			}
			log := app.NewLogger(cfg.Log, cmd.ErrOrStderr())
			app.DropStrayText(log)
			limitMemory(log, memlimit.FromCgroup)
			reg := prometheus.NewRegistry()
			reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
			goVersion, rev := revision()
			metrics.RegisterBuildInfo(reg, version(), rev, goVersion)
			settings, err := places.Effective(cfg)
			if err != nil {
				return err
			}
			commands := contactsync.Commands{Settings: file}
			if whole, err := filepath.Abs(file); err == nil && file != "" { // so that they work from anywhere
				commands.Settings = whole
			}
			a, err := app.New(cmd.Context(), cfg, app.Options{Version: version(), Log: log, Registry: reg, Settings: settings, Commands: commands})
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	configFlag(cmd, &file)
	return cmd
}

// limitMemory has the garbage collector work harder before the container's limit is
// reached, instead of the kernel ending the process at it: nine tenths of the limit are for
// Go's memory, unless GOMEMLIMIT says otherwise.
func limitMemory(log *slog.Logger, container memlimit.Provider) {
	switch limit, err := memlimit.Set(memlimit.WithProvider(container)); {
	case err != nil:
		log.Warn("the container's memory limit cannot be read: set GOMEMLIMIT to nine tenths of it", "err", err)
	case limit < math.MaxInt64:
		log.Info("memory of the process is limited", "bytes", limit)
	}
}

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "settings file (YAML); CONTACTSYNC_* variables override it")
}

// load reads the settings and prints every error in them.
func load(file string, environ []string, stderr io.Writer) (config.Config, error) {
	cfg, _, err := loadPlaces(file, environ, stderr)
	return cfg, err
}

func loadPlaces(file string, environ []string, stderr io.Writer) (config.Config, config.Places, error) {
	cfg, places, err := config.LoadPlaces(file, environ)
	if err != nil {
		fmt.Fprintln(stderr, err)
		if file == "" {
			fmt.Fprintln(stderr, "contactsync: no settings file was given: use --config FILE")
		}
		return cfg, places, errSettings
	}
	return cfg, places, nil
}

// tell prints what is wrong with the files that the settings name, with its line.
func tell(out io.Writer, level string, places config.Places, faults []setting.Error) {
	for _, f := range faults {
		fmt.Fprintln(out, level+places.Of(f).Error())
	}
}
