//go:build proof

package proof

import (
	"fmt"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

// TestLimits has the service find a limit of rows that the API does not
// tell: a request above it meets a reset, or only its first rows are applied and answered.
func TestLimits(t *testing.T) {
	if testing.Short() {
		t.Skip("counts calls on a machine that is not busy: make limits")
	}
	for _, over := range []vendorapi.OverRows{vendorapi.OverRowsReset, vendorapi.OverRowsTruncate} {
		t.Run(string(over), func(t *testing.T) {
			t.Parallel()
			hold(t, proveLimit(t, full(t), over))
		})
	}
}

func proveLimit(t *testing.T, o options, over vendorapi.OverRows) (faults []string) {
	const limit, streams = 37, 10 // rows that the API takes
	ctx, l, began := limited(t), newLab(t, 4), time.Now()
	api := l.vendor(vendorapi.Config{
		Accounts: []vendorapi.Account{harness.VendorAccount("acme")},
		Unknowns: vendorapi.Unknowns{OverRows: over}, MaxRows: limit,
		Latency: 5 * time.Millisecond,
	})
	// Without a budget a whole wave of requests would be refused at once, before the first answer.
	l.Config.Upstream.Accounts = append(l.Config.Upstream.Accounts, l.Account("acme", api, labRequests, labWindow, "st-*"))
	backlog := feed.DefaultConfig()
	backlog.Streams, backlog.Contacts, backlog.Events, backlog.InTurn, backlog.KeyByStream = streams, 20_000, 20_000, true, true
	if o.small {
		backlog.Contacts, backlog.Events = 2000, 2000
	}
	_, err := l.Produce(ctx, backlog) // before the service starts, so that requests are as large as they may be
	must(t, err)
	l.start(o, nil)
	must(t, l.Drain(ctx))
	must(t, l.Stop())
	in, err := l.Input(ctx)
	must(t, err)
	report := check.Run(in)

	f := newFigures(o.out)
	f.line("A LIMIT OF "+fmt.Sprint(limit)+" ROWS, "+string(over), "KNOWN", "FOUND", "")
	known := streams * ((backlog.Contacts/streams + limit - 1) / limit)
	redials := int(l.Series().Value("upstream_redials_total"))
	f.line("calls made twice, for a connection that closed", 0, redials, "")
	// What finding it costs does not grow with the contacts: a few of them do not pay for it.
	f.check("calls", o.small || report.Calls-redials <= known*110/100, known, report.Calls, "at most a tenth more, and those made twice")
	above, largest := 0, 0
	for i, c := range in.Calls {
		if len(c.Rows) > limit {
			above++
		}
		if i >= len(in.Calls)/2 {
			largest = max(largest, len(c.Rows))
		}
	}
	f.line("calls above the limit", 0, above, "")
	f.check("rows of the largest call of the second half", o.small || largest <= limit && largest >= limit*9/10, limit, largest, "the limit, or a tenth less")
	f.check("contacts delivered", report.Lost == 0 && report.DeadLetters == 0, backlog.Contacts, backlog.Contacts-report.Lost-report.DeadLetters, "all of them")
	f.check("states applied again", report.Duplicates == 0, 0, report.Duplicates, "none")
	f.faults = append(f.faults, report.Violations...)
	return f.end("%d events, %d calls, %.3f of those with the limit known, in %v", backlog.Events, report.Calls,
		float64(report.Calls)/float64(known), time.Since(began).Round(100*time.Millisecond))
}
