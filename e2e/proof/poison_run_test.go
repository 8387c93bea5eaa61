//go:build proof

package proof

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
)

// An account may make 60 calls in a second here, as the vendor's may in a minute.
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
	f.Streams, f.Contacts, f.Events, f.Rate = 8, 2000, 5000, 500
	s := poisonScale{healthy: f, each: 2, every: 1, largest: 64 << 20}
	if small { // a few seconds do not even out what ten megabytes cost under the race detector
		s.largest = 1 << 20
		s.healthy.Events, s.healthy.Rate, s.each, s.every = 2000, 500, 1, 3
	}
	return s
}

// poisonRun is one run of healthy traffic: eight streams of two accounts on one
// host, with or without poison in it.
type poisonRun struct {
	lab

	replica     *harness.Replica
	host        host
	others      []host // one for each bad answer
	answers     []badAnswer
	refused     []refusedRow
	healthy     *feed.Manifest
	reasons     map[contactsync.Position]contactsync.Reason // of the dead letters that are due
	deadLetters []check.DeadLetter
	report      check.Report
	again       int // states that may be applied again, because their owner has changed while a request had them
}

// deadStream is a stream of account a that the API does not know while there is poison.
const deadStream = "st-dead"

// slowAPI is the rule by which the API takes seconds for each request, so that more waits than a window holds. One that
// fails would have events left to be read again instead.
const slowAPI = "slow"

func newPoisonRun(ctx context.Context, t *testing.T, o options, answers []badAnswer) *poisonRun {
	r := &poisonRun{lab: newLab(t, 6), answers: answers, refused: refusedBy(o.api), reasons: map[contactsync.Position]contactsync.Reason{}}
	r.host = r.addHost(o.api)
	accounts := append(r.Config.Upstream.Accounts,
		r.Account("a", r.host, labRequests, labWindow, streamsOfA...),
		r.Account("b", r.host, labRequests, labWindow, streamsOfB...),
	)
	for i, a := range answers {
		r.others = append(r.others, r.addOther(o.api, badStream(i), a))
		accounts = append(accounts, r.Account(badStream(i), r.others[i], 0, labWindow, badStream(i)))
	}
	r.Config.Upstream.Accounts = accounts
	r.Config.Upstream.ThrottleMax = time.Second
	if o.change != nil {
		o.change(&r.Config)
	}
	r.replica = r.start(o, nil)
	// An event that is produced before the partitions are assigned would be old when it is read.
	must(t, harness.Wait(ctx, func() bool {
		s := r.replica.Series()
		return s.Value("consumer_assigned_partitions") == 6 && s.Value("consumer_catching_up_partitions") == 0
	}))
	return r
}

func badStream(i int) string { return fmt.Sprintf("st-ba-%03d", i) }

// poison is bad events, and events that the API answers badly, that are produced together.
type poison struct {
	contacts []feed.Contact
	events   []feed.Event
	reasons  []contactsync.Reason // of the dead letters; empty: delivered
}

func (p *poison) add(c feed.Contact, class feed.Class, reason contactsync.Reason, value []byte) {
	ev := feed.NewUpdate(c, len(p.contacts), 1, class)
	if value != nil {
		ev.Value = value
	}
	ev.Key = []byte(c.Stream) // one partition for the rows of one bad answer
	p.contacts, p.events, p.reasons = append(p.contacts, c), append(p.events, ev), append(p.reasons, reason)
}

// poison divides all poison into n parts.
func (r *poisonRun) poison(n, each int, events []badEvent) []poison {
	all := make([]poison, n)
	for i, e := range events {
		class := feed.Invalid
		if e.Reason == contactsync.ReasonUndecodable {
			class = feed.Undecodable
		}
		all[i%n].add(feed.Contact{Stream: "poison", ID: e.Name}, class, e.Reason, e.bytes())
	}
	for i, a := range r.answers {
		for j, id := range a.Rows {
			class, reason := feed.Update, a.reason(j)
			if reason != "" {
				class = feed.Rejected
			}
			all[i%n].add(feed.Contact{Stream: badStream(i), ID: id}, class, reason, nil)
		}
	}
	k := 0
	for _, q := range r.refused {
		for i := range 2 * each { // half of them for each account
			k++
			c := feed.Contact{Stream: feed.StreamName(4*(i%2) + k/2%4), ID: q.id(i)}
			all[k%n].add(c, feed.Rejected, q.reason, nil)
		}
	}
	for i := range 6 {
		all[i%n].add(feed.Contact{Stream: "nobodys", ID: fmt.Sprintf("u%d", i)}, feed.Invalid, contactsync.ReasonUnmapped, nil)
		all[i%n].add(feed.Contact{Stream: deadStream, ID: fmt.Sprintf("dead%020x", i)}, feed.Update, "", nil)
	}
	return all
}

// run produces the healthy traffic, with the poison spread over its middle, and has the
// run judged.
func (r *poisonRun) run(ctx context.Context, healthy feed.Config, parts []poison) {
	r.t.Helper()
	r.produce(ctx, healthy, parts)
	r.judge(ctx)
}

func (r *poisonRun) produce(ctx context.Context, healthy feed.Config, parts []poison) {
	r.t.Helper()
	fed := make(chan error, 1)
	go func() {
		var err error
		r.healthy, err = r.Produce(ctx, healthy)
		fed <- err
	}()
	lasts := time.Duration(float64(healthy.Events) / healthy.Rate * float64(time.Second))
	tick := time.NewTicker(lasts / time.Duration(len(parts)+2))
	defer tick.Stop()
	for _, p := range parts {
		<-tick.C
		r.put(ctx, p)
	}
	must(r.t, <-fed)
}

func (r *poisonRun) put(ctx context.Context, p poison) {
	r.t.Helper()
	m, err := r.Put(ctx, p.contacts, p.events)
	must(r.t, err)
	for i, rec := range m.Records {
		if p.reasons[i] != "" {
			r.reasons[m.Position(&rec)] = p.reasons[i]
		}
	}
}

// judge waits until everything is committed, and has the checker judge the run.
func (r *poisonRun) judge(ctx context.Context) {
	r.t.Helper()
	r.host.Turn(deadStream, false)
	must(r.t, r.Drain(ctx))
	must(r.t, r.Stop())
	in, err := r.Input(ctx)
	must(r.t, err)
	in.Reasons, in.MaxDuplicates = r.reasons, r.again
	r.deadLetters, r.report = in.DeadLetters, check.Run(in)
}

// ages are those of the healthy events.
func (r *poisonRun) ages() []time.Duration { return agesOf(r.host, r.healthy) }

// agesOf returns how old events were when the API had applied them or a
// newer state of their contact: from the time of the record to the end of the
// call, youngest first. Events that never arrived are left out; the checker
// reports them.
func agesOf(api host, events *feed.Manifest) []time.Duration {
	type state struct {
		seq int64
		at  int64
	}
	applied := map[feed.Contact][]state{}
	zero := api.Started().UnixNano()
	for _, c := range api.Calls() { // in the order of their ends
		for _, row := range c.Rows {
			if row.Applied {
				k := feed.Contact{Stream: c.Stream, ID: row.ID}
				applied[k] = append(applied[k], state{row.Seq, zero + c.Done})
			}
		}
	}
	var ages []time.Duration
	for _, rec := range events.Records {
		for _, s := range applied[events.Contacts[rec.Contact]] {
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
