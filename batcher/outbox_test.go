package batcher

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/metrics"
)

func newTestOutbox() *outbox {
	m := newSeries(&metrics.New(prometheus.NewRegistry()).Batcher)
	return &outbox{m: &m, inFlight: map[*DeadLetter]struct{}{}}
}

// letterOf is a dead letter of events of a claim.
func letterOf(cl *claim, offsets ...int64) *DeadLetter {
	d := &DeadLetter{DeadLetter: contactsync.DeadLetter{Reason: contactsync.ReasonRejected}}
	for _, o := range offsets {
		d.sources = append(d.sources, cl.opened(time.Unix(0, 0), &contactsync.Record{Position: contactsync.Position{Offset: o}}))
	}
	return d
}

func newTestClaim(partition int32, catching bool) *claim {
	c := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: partition}, Generation: 1}
	return &claim{Claim: c, live: true, catching: catching, first: -1}
}

func TestOutbox_EventsEndWhenTheirDeadLetterIsAcknowledged(t *testing.T) {
	t.Parallel()
	o, cl := newTestOutbox(), newTestClaim(1, false)
	o.add(letterOf(cl, 3, 4))
	if o.drained() || o.pending() != 1 || len(o.takeEnded()) != 0 {
		t.Error("events ended before their dead letter was written")
	}
	taken := o.take()
	if o.drained() || o.pending() != 1 || len(o.take()) != 0 {
		t.Error("a dead letter that was taken is forgotten, or given out twice")
	}
	o.acked(taken)
	if ended := o.takeEnded(); len(ended) != 2 || ended[0].Offset != 3 || ended[1].Offset != 4 || ended[1].Claim != cl.Claim {
		t.Errorf("ended %v", ended)
	}
	if !o.drained() || o.pending() != 0 || o.bytes != 0 || cl.open != 0 || len(o.takeEnded()) != 0 {
		t.Errorf("left: %+v, %d events open", o, cl.open)
	}
}

// Were a dead letter written before its partition has caught up, and the partition lost,
// the next owner would write it again.
func TestOutbox_DeadLettersWaitForTheEndOfCatchUp(t *testing.T) {
	t.Parallel()
	o, one, two := newTestOutbox(), newTestClaim(1, true), newTestClaim(2, true)
	o.add(letterOf(one, 1))
	o.add(letterOf(two, 2))
	o.add(letterOf(one, 3))
	if len(o.waiting) != 0 || o.pending() != 3 || !o.drained() {
		t.Fatalf("%d dead letters wait to be written of partitions that catch up", len(o.waiting))
	}
	one.catching = false
	o.caughtUp(one)
	if got := o.take(); len(got) != 2 || got[0].sources[0].offset != 1 || got[1].sources[0].offset != 3 {
		t.Errorf("taken %v, want those of the partition that has caught up, in order", got)
	}
	o.add(letterOf(one, 4))
	if len(o.waiting) != 1 || o.deferred != 1 {
		t.Errorf("%d wait and %d are kept back, want 1 and 1", len(o.waiting), o.deferred)
	}
}

func TestOutbox_ForgetsWhatThePublisherDoesNotHave(t *testing.T) {
	t.Parallel()
	o, cl, catching := newTestOutbox(), newTestClaim(1, false), newTestClaim(2, true)
	o.add(letterOf(cl, 1))
	taken := o.take()
	o.add(letterOf(cl, 2))
	o.add(letterOf(catching, 3))
	cl.live, catching.live = false, false
	o.forget()
	if o.pending() != 1 || o.bytes != taken[0].charge || !o.drained() {
		t.Errorf("%d pending with %d bytes, want the one that was taken", o.pending(), o.bytes)
	}
	next := newTestClaim(1, false)
	o.add(letterOf(next, 1))
	o.take()
	if o.drained() {
		t.Error("the dead letter of the present generation is not waited for")
	}
	o.acked(taken)
	if o.drained() || len(o.takeEnded()) != 0 || o.staleInFlight != 0 {
		t.Errorf("the dead letter of a generation that is over ended something, or counts on: %+v", o)
	}
}

func TestOutbox_DeadLetterOfAnEndedGenerationIsNone(t *testing.T) {
	t.Parallel()
	o, cl := newTestOutbox(), newTestClaim(1, false)
	d := letterOf(cl, 1)
	cl.live = false
	o.add(d)
	if o.pending() != 0 || o.bytes != 0 {
		t.Errorf("%d pending, %d bytes", o.pending(), o.bytes)
	}
}

// A dead letter of many events takes memory for each of their positions.
func TestOutbox_ChargesWhatADeadLetterTakes(t *testing.T) {
	t.Parallel()
	cl := newTestClaim(1, false)
	charge := func(change func(*DeadLetter), offsets ...int64) int64 {
		o, d := newTestOutbox(), letterOf(cl, offsets...)
		change(d)
		o.add(d)
		return o.bytes
	}
	one := charge(func(*DeadLetter) {}, 1)
	for name, tt := range map[string]struct {
		got, least int64
	}{
		"positions": {charge(func(*DeadLetter) {}, make([]int64, 101)...), 100 * (sourceBytes + positionBytes)},
		"value":     {charge(func(d *DeadLetter) { d.Record.Value = make([]byte, 5000) }, 1), 5000},
		"key":       {charge(func(d *DeadLetter) { d.Record.Key = make([]byte, 5000) }, 1), 5000},
		"headers": {charge(func(d *DeadLetter) {
			d.Record.Headers = []contactsync.Header{{Key: "k", Value: make([]byte, 5000)}}
		}, 1), 5000},
	} {
		if tt.got-one < tt.least {
			t.Errorf("%s: charged %d more, want at least %d", name, tt.got-one, tt.least)
		}
	}
}
