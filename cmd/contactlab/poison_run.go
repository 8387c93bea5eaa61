package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/upstream"
)

// The vendor's minute is a second here, as in the demo: 60 calls of an account.
const (
	labRequests = 60
	labWindow   = time.Second
)

// poisonScale is how much there is of everything.
type poisonScale struct {
	healthy feed.Config
	each    int // rows of each kind that the API refuses, in each account
	every   int // of the bad answers, every n-th is played
	largest int // of the bad events, larger ones are left out
}

func poisonScaleOf(small bool) poisonScale {
	f := feed.DefaultConfig()
	f.Topic, f.Streams, f.Contacts, f.Events, f.Rate = demoTopic, 8, 2000, 5000, 500
	s := poisonScale{healthy: f, each: 2, every: 1, largest: 64 << 20}
	if small { // a few seconds do not even out what ten megabytes cost, in a test with the race detector
		s.largest = 1 << 20
		s.healthy.Events, s.healthy.Rate, s.each, s.every = 2000, 500, 1, 3
	}
	return s
}

// poisonRun is one run of healthy traffic: eight streams of two accounts on one
// host, with or without poison in it.
type poisonRun struct {
	*ground
	*replica
	host     *door
	others   []*door // one for each bad answer
	answers  []badAnswer
	manifest feed.Manifest
	healthy  int // the first records of the manifest
	letters  []check.DeadLetter
	report   check.Report
	reasons  map[contactsync.Position]contactsync.Reason
}

// refusedRow is a kind of rows that the API refuses.
type refusedRow struct {
	prefix string // of their contacts' ids
	reason contactsync.Reason
	whole  bool // it refuses the whole request
	rule   stub.Rule
}

var refusedRows = []refusedRow{
	{"q400", contactsync.ReasonBadRequest, true, stub.Rule{Answer: &stub.Answer{Status: 400}}},
	{"q412", contactsync.ReasonBadRequest, true, stub.Rule{Answer: &stub.Answer{Status: 412}}},
	{"q422", contactsync.ReasonBadRequest, true, stub.Rule{Answer: &stub.Answer{Status: 422}}},
	{"q413", contactsync.ReasonTooLarge, true, stub.Rule{Answer: &stub.Answer{Status: 413}}},
	{"qdrop", contactsync.ReasonUnresolved, false, stub.Rule{Rows: &stub.Rows{Drop: []string{"qdrop*"}}}},
	{"qfail", contactsync.ReasonRejected, false, stub.Rule{Rows: &stub.Rows{Fail: []string{"qfail*"}, Reason: "Duplicate phone number"}}},
	{"qterse", contactsync.ReasonRejected, false, stub.Rule{Rows: &stub.Rows{Fail: []string{"qterse*"}, IDAs: "string"}}},
}

// deadStream is one of account a that the API does not know for as long as there is poison.
const deadStream = "st-dead"

func newPoisonRun(ctx context.Context, o proveOptions, answers []badAnswer) (_ *poisonRun, err error) {
	r := &poisonRun{answers: answers, reasons: map[contactsync.Position]contactsync.Reason{}}
	if r.ground, err = newGround(6); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	api := stub.DefaultConfig()
	api.RateLimit, api.RateWindow = arrivals(labRequests, 1), labWindow
	api.Latency, api.Jitter = 10*time.Millisecond, 10*time.Millisecond
	api.Scenario.Rules = []stub.Rule{{Name: deadStream, Match: stub.Match{Streams: []string{deadStream}}, Answer: &stub.Answer{Status: 404}}}
	for _, q := range refusedRows {
		q.rule.Name, q.rule.Match.IDs = q.prefix, []string{q.prefix + "*"}
		api.Scenario.Rules = append(api.Scenario.Rules, q.rule)
	}
	if r.host, err = openDoor(api); err != nil {
		return nil, err
	}
	accounts := []upstream.Account{
		r.account("a", r.host.url(), labRequests, labWindow, "st-000[0-3]", deadStream),
		r.account("b", r.host.url(), labRequests, labWindow, "st-000[4-7]"),
	}
	for i, a := range answers {
		other := stub.DefaultConfig()
		other.Scenario.Rules = []stub.Rule{a.rule()}
		d, err := openDoor(other)
		if err != nil {
			return nil, err
		}
		r.others = append(r.others, d)
		accounts = append(accounts, r.account(badStream(i), d.url(), 0, labWindow, badStream(i)))
	}
	cfg := r.settings(accounts...)
	cfg.Upstream.ThrottleMax = time.Second
	log := o.log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if r.replica, err = start(ctx, cfg, o.bug, log, nil); err != nil {
		return nil, err
	}
	// What comes before the group has its partitions would be old when it is first seen.
	return r, waitFor(ctx, func() bool {
		f := r.figures()
		return f["consumer_assigned_partitions"] == 6 && f["consumer_catching_up_partitions"] == 0
	})
}

func openDoor(cfg stub.Config) (*door, error) {
	d, err := newDoor(cfg)
	if err != nil {
		return nil, err
	}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func badStream(i int) string { return fmt.Sprintf("ba-%03d", i) }

func (r *poisonRun) close() error {
	errs := []error{r.halt()}
	for _, d := range append(r.others, r.host) {
		if d != nil {
			errs = append(errs, d.close())
		}
	}
	return errors.Join(append(errs, r.ground.close())...)
}

// dose is some poison that is put into the topic at once.
type dose struct {
	contacts []feed.Contact
	events   []feed.Event
	reasons  []contactsync.Reason // of the dead letters; empty: delivered
}

func (d *dose) add(c feed.Contact, class feed.Class, reason contactsync.Reason, value []byte) {
	ev := feed.NewUpdate(c, len(d.contacts), 1, class)
	if value != nil {
		ev.Value = value
	}
	ev.Key = []byte(c.Stream) // one partition for the rows of one bad answer
	d.contacts, d.events, d.reasons = append(d.contacts, c), append(d.events, ev), append(d.reasons, reason)
}

// doses divides all the poison there is into n.
func (r *poisonRun) doses(n, each int, events []badEvent) []dose {
	all := make([]dose, n)
	for i, e := range events {
		class := feed.Invalid
		if e.Reason == contactsync.ReasonUndecodable {
			class = feed.Undecodable
		}
		all[i%n].add(feed.Contact{Stream: "poison", ID: e.Name}, class, e.Reason, e.bytes())
	}
	for i, a := range r.answers {
		for j, id := range a.Rows {
			class, reason := feed.Update, a.ends(j)
			if reason != "" {
				class = feed.Rejected
			}
			all[i%n].add(feed.Contact{Stream: badStream(i), ID: id}, class, reason, nil)
		}
	}
	k := 0
	for _, q := range refusedRows {
		for i := range 2 * each { // one half for each account
			k++
			c := feed.Contact{Stream: feed.StreamName(4*(i%2) + k/2%4), ID: fmt.Sprintf("%s-%d", q.prefix, i)}
			all[k%n].add(c, feed.Rejected, q.reason, nil)
		}
	}
	for i := range 6 {
		all[i%n].add(feed.Contact{Stream: "nobodys", ID: fmt.Sprintf("u%d", i)}, feed.Invalid, contactsync.ReasonUnmapped, nil)
		all[i%n].add(feed.Contact{Stream: deadStream, ID: fmt.Sprintf("d%d", i)}, feed.Update, "", nil)
	}
	return all
}

// run sends the healthy traffic, with the doses spread over its middle, and
// returns when all is committed.
func (r *poisonRun) run(ctx context.Context, healthy feed.Config, doses []dose) error {
	type made struct {
		m   *feed.Manifest
		err error
	}
	feeding := make(chan made, 1)
	go func() {
		m, err := feed.Produce(ctx, r.broker.Addrs(), healthy, nil)
		feeding <- made{m, err}
	}()
	lasts := time.Duration(float64(healthy.Events) / healthy.Rate * float64(time.Second))
	tick := time.NewTicker(lasts / time.Duration(len(doses)+2))
	defer tick.Stop()
	var poison []*feed.Manifest
	for _, d := range doses {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		m, err := feed.Put(ctx, r.broker.Addrs(), demoTopic, d.contacts, d.events)
		if err != nil {
			return err
		}
		for i, rec := range m.Records {
			if d.reasons[i] != "" {
				r.reasons[m.Position(&rec)] = d.reasons[i]
			}
		}
		poison = append(poison, m)
	}
	end := <-feeding
	if end.err != nil {
		return end.err
	}
	r.manifest, r.healthy = *end.m, len(end.m.Records)
	for _, m := range poison {
		r.manifest.Append(m)
	}
	r.host.api.Turn(deadStream, false)
	if err := waitFor(ctx, func() bool {
		done, err := drained(ctx, r.broker)
		return done && err == nil || r.failed() != nil
	}); err != nil {
		return fmt.Errorf("%w: not committed to the end", err)
	}
	if err := r.halt(); err != nil {
		return err
	}
	return r.examine(ctx)
}

// examine has the checker look at the run.
func (r *poisonRun) examine(ctx context.Context) error {
	apis := []*stub.Server{r.host.api}
	for _, d := range r.others {
		apis = append(apis, d.api)
	}
	in := check.Input{Manifest: &r.manifest, Reasons: r.reasons}
	in.Stub(apis...)
	if err := in.Kafka(ctx, r.broker.Addrs(), demoGroup, demoLetters); err != nil {
		return err
	}
	r.letters, r.report = in.DeadLetters, check.Run(in)
	return nil
}

// ages returns the age of every healthy event when the API had it, or something
// newer of its contact: from the time of its record to the end of the call,
// shortest first. Events that never got there are left out; the checker has them.
func (r *poisonRun) ages() []time.Duration {
	type state struct {
		seq int64
		at  int64
	}
	applied := map[feed.Contact][]state{}
	zero := r.host.api.Started().UnixNano()
	for _, c := range r.host.api.Calls() { // in the order of their ends
		for _, row := range c.Rows {
			if row.Applied {
				k := feed.Contact{Stream: c.Stream, ID: row.ID}
				applied[k] = append(applied[k], state{row.Seq, zero + c.Done})
			}
		}
	}
	var ages []time.Duration
	for _, rec := range r.manifest.Records[:r.healthy] {
		for _, s := range applied[r.manifest.Contacts[rec.Contact]] {
			if s.seq >= rec.Seq {
				ages = append(ages, time.Duration(s.at-rec.Time))
				break
			}
		}
	}
	slices.SortFunc(ages, cmp.Compare)
	return ages
}

// quantile of sorted ages.
func quantile(ages []time.Duration, q float64) time.Duration {
	if len(ages) == 0 {
		return 0
	}
	return ages[min(int(q*float64(len(ages))), len(ages)-1)]
}
