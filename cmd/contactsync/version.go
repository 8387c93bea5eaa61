package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set by the build: -ldflags "-X main.release=1.2.3".
var release string

// version is the release, or what the build noted about its source.
func version() string {
	if release != "" {
		return release
	}
	if _, rev := revision(); rev != "" {
		return "dev-" + rev
	}
	return "dev"
}

func revision() (goVersion, rev string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return runtime.Version(), ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			rev = s.Value[:12]
		}
	}
	return info.GoVersion, rev
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			goVersion, rev := revision()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "contactsync %s (revision %s, %s, %s/%s)\n", version(), cmp.Or(rev, "unknown"), goVersion, runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
