//go:build alerts

package alerts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/upstream"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAlerts has all faults at once, each in a service of its own that is a job of its
// own to one Prometheus, and waits until every alert that belongs to one fires. Of the
// others none may fire in all that time.
func TestAlerts(t *testing.T) {
	rules, names := scaled(t)
	checkNames(t, names)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Second, errors.New("not over within 200 s"))
	defer cancel()

	p := start(t, rules)
	await(t, ctx, p, []fault{{name: "", fires: []string{"Absent"}}})
	worlds := map[string]*world{}
	targets := map[string]string{}
	for _, f := range faults {
		w, replica := f.start(t)
		worlds[f.name], targets[f.name] = w, replica.Addr
	}
	began := time.Now()
	targets["this process"] = ownSeries(t, 8<<30)
	p.scrape(t, targets)
	var later sync.WaitGroup
	for _, f := range faults {
		if f.later != nil {
			later.Go(func() { f.later(worlds[f.name]) })
		}
	}
	seen := await(t, ctx, p, faults)
	later.Wait()
	checkDashboard(t, p, began)
	status := statusOf(t)
	checkSigns(t, status, worlds, targets)
	if *drill != "" {
		writeDrill(t, p, scaledBoard(t, rules), status, worlds, targets, seen, began)
	}
}

// checkNames: each alert is fired here.
func checkNames(t *testing.T, names []string) {
	t.Helper()
	fired := map[string]bool{"Absent": true}
	for _, f := range faults {
		for _, name := range f.fires {
			fired[name] = true
		}
	}
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], "Contactsync")
	}
	slices.Sort(names)
	if known := slices.Sorted(maps.Keys(fired)); !slices.Equal(known, names) {
		t.Errorf("known here: %v\nin the rules: %v", known, names)
	}
}

// instance is one of an alert. With other labels it is another one.
type instance struct{ name, labels string }

func instanceOf(labels map[string]string) instance {
	var others []string
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if !slices.Contains([]string{"__name__", "alertname", "alertstate", "job", "severity"}, label) {
			others = append(others, label+"="+labels[label])
		}
	}
	return instance{strings.TrimPrefix(labels["alertname"], "Contactsync"), strings.Join(others, " ")}
}

// fired is what has fired for a fault: with what annotations, and after which time first.
type fired struct {
	annotations map[instance]map[string]string
	after       map[string]time.Duration // by the name of the alert
}

// await waits until each fault has fired its alerts at some time, and fails the test for
// any other that fires meanwhile. It returns what has fired, by fault.
func await(t *testing.T, ctx context.Context, p prometheus, faults []fault) (seen map[string]fired) {
	t.Helper()
	began := time.Now()
	seen = map[string]fired{}
	missing := func() (all []string) {
		for _, f := range faults {
			for _, name := range f.fires {
				if _, ok := seen[f.name].after[name]; !ok {
					all = append(all, fmt.Sprintf("%q: %s does not fire", f.name, name))
				}
			}
		}
		return all
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for len(missing()) > 0 && ctx.Err() == nil {
		<-tick.C
		fires, err := p.firing(ctx)
		if err != nil {
			t.Log(err)
			continue
		}
		for _, a := range fires {
			job, one := a.Labels["job"], instanceOf(a.Labels)
			if seen[job].after == nil {
				seen[job] = fired{map[instance]map[string]string{}, map[string]time.Duration{}}
			}
			seen[job].annotations[one] = a.Annotations
			if _, ok := seen[job].after[one.name]; !ok {
				seen[job].after[one.name] = time.Since(began).Round(100 * time.Millisecond)
			}
		}
	}
	for _, m := range missing() {
		t.Error(m)
	}
	for _, f := range faults {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(seen[f.name].after)) {
			list = append(list, fmt.Sprintf("%s (%v)", name, seen[f.name].after[name]))
			if !slices.Contains(f.fires, name) && !slices.Contains(f.also, name) {
				t.Errorf("%q: %s fires and does not belong to it", f.name, name)
			}
		}
		fmt.Fprintf(t.Output(), "%-48s %s\n", f.name, strings.Join(list, ", "))
	}
	return seen
}

// start starts a replica with the fault, whose feed goes on until the test ends.
func (f fault) start(t *testing.T) (*world, *harness.Replica) {
	t.Helper()
	lab, err := harness.New(2)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(lab.CloseAPIs(), lab.Close()); err != nil {
			t.Log(err)
		}
	})
	w := &world{Lab: lab, api: stub.DefaultConfig(), t: t}
	w.feed = feed.DefaultConfig()
	w.feed.Contacts, w.feed.Streams, w.feed.Events, w.feed.Rate = 1000, 20, 1_000_000, 20
	b, c := &w.Config.Batcher, &w.Config.Consumer
	b.Linger, b.HoldProbeMax, b.UnansweredAfter = 50*time.Millisecond, b.HoldProbeMax/scale, b.UnansweredAfter/scale
	c.DrainTimeout = 500 * time.Millisecond
	w.Config.Upstream.Breaker.Interval = time.Minute
	if f.plant != nil {
		f.plant(w)
	}
	api, err := lab.AddAPI(w.api)
	must(t, err)
	w.host = api
	of := lab.Account(account, api, w.requests, time.Second, "st-*")
	if w.token != "" {
		of.Credentials = upstream.Credentials{StaticTokenFile: w.token}
	}
	w.Config.Upstream.Accounts = []upstream.Account{of}
	replica, err := lab.Start(ctx, app.Options{Log: slog.New(slog.NewTextHandler(&w.log, nil))})
	if err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	lab.ProduceInBackground(ctx, w.feed)
	return w, replica
}
