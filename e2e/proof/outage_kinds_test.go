//go:build proof

package proof

import (
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// outageKind is a way in which an API can be away, wholly or in part.
type outageKind struct {
	name   string
	lasts  time.Duration
	rule   stub.Rule     // without an answer no connection is taken
	flap   time.Duration // it comes and goes, each for so long
	stream string        // the one that it is about
	secure bool          // TLS, and meanwhile the server has a certificate of another authority
}

// outageKinds are the kinds.
func outageKinds() []outageKind {
	answer := func(a stub.Answer) stub.Rule { return stub.Rule{Answer: &a} }
	share := func(share float64, a stub.Answer) stub.Rule { return stub.Rule{Answer: &a, Share: share} }
	failed, html := stub.Answer{Status: 500}, stub.Answer{Status: 403, Body: stub.HTML}
	shard := answer(stub.Answer{Status: 503})
	shard.Match.Streams = []string{outageStream}
	silent := answer(stub.Answer{Fault: stub.NoAnswer})
	silent.Match.Streams = []string{outageStream}
	large := answer(stub.Answer{Status: 504, Latency: 5 * time.Second})
	large.Match.RowsOver = 5
	const half, hour = 30 * time.Minute, time.Hour
	return []outageKind{
		{name: "500 for everything", lasts: half, rule: answer(failed)},
		{name: "503 with HTML for everything", lasts: half, rule: answer(stub.Answer{Status: 503, Body: stub.HTML})},
		{name: "403 with HTML for everything", lasts: half, rule: answer(html)},
		{name: "401 for everything", lasts: half, rule: answer(stub.Answer{Status: 401})},
		{name: "200 that names no row for everything", lasts: half, rule: answer(stub.Answer{Text: `{"successfulRecords":[],"failedRecords":[]}`, Apply: new(bool)})},
		{name: "400 for everything", lasts: half, rule: answer(stub.Answer{Status: 400})},
		{name: "413 for everything", lasts: half, rule: answer(stub.Answer{Status: 413})},
		{name: "each row refused by name", lasts: half, rule: stub.Rule{Rows: &stub.Rows{Fail: []string{"*"}, Reason: "Duplicate phone number"}}},
		{name: "each row refused by name, of one stream", lasts: hour, rule: stub.Rule{Rows: &stub.Rows{Fail: []string{"*"}, Reason: "Duplicate phone number"}, Match: stub.Match{Streams: []string{outageStream}}}, stream: outageStream},
		{name: "refused connections", lasts: half},
		{name: "resets", lasts: half, rule: answer(stub.Answer{Fault: stub.Reset})},
		{name: "time-outs", lasts: half, rule: answer(stub.Answer{Fault: stub.NoAnswer})},
		{name: "another certificate", lasts: 15 * time.Minute, secure: true},
		{name: "503 for one stream", lasts: 2 * hour, rule: shard, stream: outageStream},
		{name: "time-outs for one stream", lasts: hour, rule: silent, stream: outageStream},
		{name: "30 % of the calls fail", lasts: hour, rule: share(0.3, failed)},
		{name: "50 % of the calls fail", lasts: hour, rule: share(0.5, failed)},
		{name: "70 % of the calls fail", lasts: hour, rule: share(0.7, failed)},
		{name: "500 for 20 s in 40 s", lasts: hour, rule: answer(failed), flap: 20 * time.Second},
		{name: "504 for more than five rows", lasts: hour, rule: large},
		{name: "401 for half of the calls", lasts: hour, rule: share(0.5, stub.Answer{Status: 401})},
	}
}

// TestOutage_Kinds plays each kind of outage under a load that takes the account's calls wholly,
// on both models of the API, in virtual time. What came meanwhile must be delivered, nothing of it
// as a dead letter, and soon after its end as many calls are made, and with as many rows, as before.
func TestOutage_Kinds(t *testing.T) {
	playAll(t, "outage", func(model) []outageKind { return outageKinds() }, func(k outageKind) string { return k.name }, playOutage, judgeOutages)
}

// judgeOutages prints the runs and returns what is wrong.
func judgeOutages(to io.Writer, results []outageResult) (faults []string) {
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	defer out.Flush() // to a test's output
	fmt.Fprintln(out, "OUTAGE\tLASTS\tCALLS/MIN\tMEANWHILE\tROWS/CALL\tMEANWHILE\tBACK AFTER\tDRAINED AFTER\tEVENTS\tDEAD LETTERS\tLOST\tOLDER AFTER NEWER\tAGAIN")
	for _, r := range results {
		fmt.Fprintf(out, "%s\t%v\t%.1f\t%.1f\t%.1f\t%.1f\t%v\t%v\t%d\t%d\t%d\t%d\t%d\n", r.kind.name, r.kind.lasts, r.before.calls, r.meanwhile.calls, r.before.rows, r.meanwhile.rows,
			r.back, r.drained.Round(time.Second), r.report.Truth.Events, r.letters, r.report.Lost, r.report.OutOfOrder+r.report.LateBackwards, r.report.Duplicates)
		wrong := func(format string, args ...any) {
			faults = append(faults, r.kind.name+": "+fmt.Sprintf(format, args...))
		}
		if r.letters > 0 {
			wrong("I6: %d dead letters", r.letters)
		}
		if r.back > outageBack {
			wrong("I6: as many calls and rows as before %v after its end, want at most %v", r.back, outageBack)
		}
		if r.drained > outageBack {
			wrong("I6: what came before its end was delivered %v after it, want at most %v", r.drained, outageBack)
		}
		if r.left > 0 {
			wrong("I1: %d events were not completed", r.left)
		}
		for _, violation := range r.report.Violations {
			wrong("%s", violation)
		}
	}
	return faults
}

func TestOutage_KindsCanFail(t *testing.T) {
	refused := outageKind{name: "one row in 16 refused by name", lasts: time.Minute, rule: stub.Rule{Rows: &stub.Rows{Fail: []string{"*7"}, Reason: "Duplicate phone number"}}}
	synctest.Test(t, func(t *testing.T) {
		if got := playOutage(t, stubAPI, refused); got.letters == 0 || len(judgeOutages(io.Discard, []outageResult{got})) == 0 {
			t.Errorf("rows are refused beside others: %d dead letters, and no fault", got.letters)
		}
	})
	for name, got := range map[string]outageResult{
		"slow for long":  {back: outageBack + time.Second},
		"late":           {drained: outageBack + time.Second},
		"never":          {left: 1},
		"a wrong report": {report: check.Report{Violations: []string{"I3: older after newer"}}},
	} {
		if faults := judgeOutages(io.Discard, []outageResult{got}); len(faults) != 1 {
			t.Errorf("%s: %q", name, faults)
		}
	}
}
