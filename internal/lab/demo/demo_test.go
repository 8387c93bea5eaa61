package demo

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/contactsync/contactsync/internal/lab/plant"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is the demo at a size for tests: everything happens, in seconds.
func small() Options {
	o := DefaultOptions()
	o.Feed.Events, o.Feed.Contacts, o.Feed.Streams = 20_000, 8_000, 5
	o.Feed.PoisonShare, o.Feed.RejectShare, o.Feed.TombstoneShare = 0.002, 0.005, 0.002
	o.Requests, o.Outage, o.Throttle = 40, 1500*time.Millisecond, 200*time.Millisecond
	o.Limit = 5 * time.Minute // seconds where the machine has nothing else to do
	return o
}

// said keeps the lines of a run.
type said struct{ lines []string }

func (s *said) Say(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}
func (s *said) Show(State) {}

func TestRun_EveryCheckHolds(t *testing.T) {
	t.Parallel()
	for _, api := range []string{Stub, Vendor} {
		t.Run(api, func(t *testing.T) { everyCheckHolds(t, api) })
	}
}

func everyCheckHolds(t *testing.T, api string) {
	var out said
	o := small()
	o.API = api
	report, err := Run(t.Context(), o, &out)
	if err != nil || !report.OK() {
		t.Fatalf("%v\n%v", err, report)
	}
	if sum := report.Delivered + report.SetAside + report.NothingToSend + report.Lost; sum != report.Truth.Events {
		t.Errorf("the table does not add up: %d events ended, of %d:\n%v", sum, report.Truth.Events, report)
	}
	if report.DeadLetters == 0 || report.CallsPerFloor < 1 || report.Truth.Events <= small().Feed.Events {
		t.Errorf("%d dead letters, calls / floor %v, %d events: want some, at least 1, and more than the backlog",
			report.DeadLetters, report.CallsPerFloor, report.Truth.Events)
	}
	for _, want := range []string{"the API is down", "the API is throttling", "the API is up again"} {
		if !slices.Contains(out.lines, want) {
			t.Errorf("%q was not said: %q", want, out.lines)
		}
	}
}

func TestRun_RefusesWhatNoAPIHas(t *testing.T) {
	t.Parallel()
	scenario := stub.Scenario{Rules: []stub.Rule{{Name: "x", Answer: &stub.Answer{Status: 500}}}}
	for want, change := range map[string]func(*Options){
		`there is no API "mock": stub or vendor`: func(o *Options) { o.API = "mock" },
		`only the API "vendor" has variants`:     func(o *Options) { o.Variant = "page" },
		`the API has no variant "none"`:          func(o *Options) { o.API, o.Variant = Vendor, "none" },
		`only the API "stub" has scenarios`:      func(o *Options) { o.API, o.Scenario = Vendor, scenario },
	} {
		o := small()
		change(&o)
		if _, err := Run(t.Context(), o, &said{}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestRun_FindsPlantedBugs shows that the checker can fail: each bug breaks a
// promise in the way that real consumers do, and the run must end in a violation.
func TestRun_FindsPlantedBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the demo five times")
	}
	t.Parallel()
	broken := map[string]string{
		"commit-max": "I2", "trust-status": "I1", "drop-on-error": "I1", "drop-dead-letters": "I1", "resend-stale": "I3",
	}
	for _, bug := range slices.Sorted(maps.Keys(plant.Bugs)) {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			o := small()
			o.Bug = bug
			report, err := Run(t.Context(), o, &said{})
			if report == nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(report.Violations, func(v string) bool { return strings.HasPrefix(v, broken[bug]+":") })
			if i < 0 {
				t.Fatalf("no violation of %q:\n%v", broken[bug], report)
			}
			t.Log(report.Violations[i])
		})
	}
}

// The command at the top of the example does what it says.
func TestRun_WithTheExampleScenario(t *testing.T) {
	if testing.Short() {
		t.Skip("TestRun_EveryCheckHolds runs the demo")
	}
	t.Parallel()
	text, err := os.ReadFile("../../../examples/scenario.yaml")
	if err != nil {
		t.Fatal(err)
	}
	o := small()
	o.Feed.Events, o.Feed.Contacts, o.Outage = 5000, 2000, 0
	if o.Scenario, err = stub.ParseScenario(text); err != nil {
		t.Fatal(err)
	}
	if report, err := Run(t.Context(), o, &said{}); err != nil || !report.OK() {
		t.Errorf("%v\n%v", err, report)
	}
}
