//go:build proof

package proof

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/plant"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

var logFile = flag.String("log", "", "append the service's log to this file")

// options say how a proof runs.
type options struct {
	small  bool // fewer events and shorter waits
	api    model
	bug    string
	only   string               // of the answers, those to conditions with this text
	change func(*config.Config) // alters the settings
	out    io.Writer            // nil: discarded
}

// model is one of the two models of the API.
type model int

const (
	stubAPI   model = iota // internal/lab/stub
	vendorAPI              // internal/lab/vendorapi, written from the vendor's page alone
)

var models = []model{stubAPI, vendorAPI}

// String names the package of a model.
func (m model) String() string { return [...]string{"stub", "vendorapi"}[m] }

// playAll plays cases in virtual time, on each of the two models of the API, and fails with what is wrong with all that
// came of a model's. make target plays them alone.
func playAll[C, R any](t *testing.T, target string, cases func(model) []C, name func(C) string, play func(*testing.T, model, C) R, judge func(io.Writer, []R) (faults []string)) {
	t.Helper()
	if testing.Short() { // nothing races in virtual time that does not race elsewhere
		t.Skip("it computes much: make " + target)
	}
	for _, api := range models {
		t.Run(api.String(), func(t *testing.T) {
			var results []R
			for _, c := range cases(api) {
				t.Run(name(c), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { results = append(results, play(t, api, c)) })
				})
			}
			hold(t, judge(t.Output(), results))
		})
	}
}

// onBoth runs a proof on each of the two models of the API.
func onBoth(t *testing.T, prove func(*testing.T, options) (faults []string)) {
	for _, api := range models {
		t.Run(api.String(), func(t *testing.T) {
			o := full(t)
			o.api = api
			hold(t, prove(t, o))
		})
	}
}

// host is an API of either model whose faults a proof turns on and off.
type host interface {
	harness.API
	Started() time.Time
	Turn(rule string, on bool) bool
	Suspend()
	Resume() error
}

// full is how the proofs themselves run.
func full(t *testing.T) options { return options{small: testing.Short(), out: t.Output()} }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// limited is the context of a proof in real time, which goes on for a minute or two where the machine has nothing else to do.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Minute, fmt.Errorf("I9: not over within eight minutes"))
	t.Cleanup(cancel)
	return ctx
}

// lab is the harness of one run, for tests.
type lab struct {
	*harness.Lab
	t *testing.T
}

func newLab(t *testing.T, partitions int32) lab {
	t.Helper()
	h, err := harness.New(partitions)
	must(t, err)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab{h, t}
}

func (l lab) api(cfg stub.Config) *stub.Server {
	l.t.Helper()
	api, err := l.AddAPI(cfg)
	must(l.t, err)
	return api
}

func (l lab) vendor(cfg vendorapi.Config) *harness.Vendor {
	l.t.Helper()
	api, err := l.AddVendor(cfg)
	must(l.t, err)
	return api
}

// start starts a replica with the planted bug; wrap may be put around its sender,
// inside the bug.
func (l lab) start(o options, wrap func(batcher.Sender) batcher.Sender) *harness.Replica {
	l.t.Helper()
	wiring := app.Options{WrapSender: wrap}
	if *logFile != "" {
		f, err := os.OpenFile(*logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		must(l.t, err)
		l.t.Cleanup(func() { f.Close() })
		wiring.Log = slog.New(slog.NewTextHandler(f, nil))
	}
	must(l.t, plant.Plant(o.bug, &wiring))
	r, err := l.Start(l.t.Context(), wiring)
	must(l.t, err)
	return r
}

// figures is a table of what a proof measured, with what is wrong of it.
type figures struct {
	out    io.Writer
	table  *tabwriter.Writer
	faults []string
}

func newFigures(out io.Writer) *figures {
	if out == nil {
		out = io.Discard
	}
	return &figures{out: out, table: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
}

// line adds a figure that is not judged, with its values before and after.
func (f *figures) line(name string, before, after any, note string) {
	fmt.Fprintf(f.table, "%s\t%v\t%v\t%s\n", name, before, after, note)
}

// check adds a figure and whether it is as it must be.
func (f *figures) check(name string, ok bool, before, after any, want string) {
	verdict := "ok: "
	if !ok {
		verdict = "WRONG: "
		f.faults = append(f.faults, fmt.Sprintf("%s: %v, want: %s", strings.TrimSpace(name), after, want))
	}
	f.line(name, before, after, verdict+want)
}

// end prints the table, what is wrong and a last line, and returns what is wrong.
func (f *figures) end(format string, args ...any) []string {
	_ = f.table.Flush() // to a test's output
	for _, fault := range f.faults {
		fmt.Fprintln(f.out, "VIOLATION  "+fault)
	}
	fmt.Fprintf(f.out, "\n%d violations; %s\n", len(f.faults), fmt.Sprintf(format, args...))
	return f.faults
}

// hold fails the test for each fault.
func hold(t *testing.T, faults []string) {
	t.Helper()
	for _, f := range faults {
		t.Error(f)
	}
}
