package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/contactsync/contactsync/internal/lab/loopback"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

// Vendor is the second model of the API, on an address of its own. What it logs is told
// in the words of the stub's log, so that one checker judges both.
type Vendor struct {
	*vendorapi.API

	start     time.Time
	url       string
	http      *http.Server
	ended     chan error
	suspended bool
}

// VendorAccount is an account of the second model with the lab's credentials. Without
// streams it has all.
func VendorAccount(id string, streams ...string) vendorapi.Account {
	return vendorapi.Account{ID: id, Streams: streams, Apps: []vendorapi.App{{ClientID: stub.LabAppID, Secret: stub.LabSecret}}}
}

// AddVendor starts the second model of the API. Its address is one that no other process
// takes while it is suspended.
func (r *Run) AddVendor(cfg vendorapi.Config) (*Vendor, error) {
	addrs, err := loopback.Free(context.Background(), 1)
	if err != nil {
		return nil, err
	}
	v, err := StartVendor(addrs[0], cfg)
	if err == nil {
		r.APIs = append(r.APIs, v)
	}
	return v, err
}

// StartVendor starts the second model of the API without a run.
func StartVendor(addr string, cfg vendorapi.Config) (*Vendor, error) {
	v := NewVendor(cfg)
	return v, v.listen(addr)
}

// NewVendor returns the second model of the API without an address: an http.Handler.
func NewVendor(cfg vendorapi.Config) *Vendor {
	return &Vendor{start: time.Now(), API: vendorapi.New(cfg)}
}

func (v *Vendor) listen(addr string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("start the vendor's API: %w", err)
	}
	srv, ended := &http.Server{Handler: v, ReadHeaderTimeout: 10 * time.Second}, make(chan error, 1)
	v.url, v.http, v.ended, v.suspended = "http://"+ln.Addr().String(), srv, ended, false
	go func() { ended <- srv.Serve(ln) }()
	return nil
}

// Suspend closes the listener and cuts off every connection, as a host does that goes
// away. What was begun is worked on to its end, and nobody hears of it.
func (v *Vendor) Suspend() {
	if !v.suspended {
		v.suspended = true
		_ = v.http.Close() // no client is warned: that is the fault
	}
}

// Resume listens at the former address again. It does nothing unless the API is
// suspended. Neither may be called while another of the two, or Close, is at work.
func (v *Vendor) Resume() error {
	if !v.suspended {
		return nil
	}
	if err := <-v.ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return v.listen(strings.TrimPrefix(v.url, "http://"))
}

// Started is the time that Call.Received and Call.Done count from.
func (v *Vendor) Started() time.Time { return v.start }

// URL is the base address, without a slash at the end.
func (v *Vendor) URL() string { return v.url }

// Close ends all requests and the listener, once.
func (v *Vendor) Close() error {
	v.API.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if v.http.Shutdown(ctx) != nil {
		_ = v.http.Close() // what has not finished is cut off
	}
	if err := <-v.ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Calls returns the log. Rows that were applied after the answer are a call of their own.
func (v *Vendor) Calls() []stub.Call {
	log := v.Log()
	since := func(t time.Time) int64 { return int64(t.Sub(v.start)) }
	calls := make([]stub.Call, len(log.Calls), len(log.Calls)+8)
	for i, c := range log.Calls {
		call := &calls[i]
		*call = stub.Call{Received: since(c.At), Done: since(c.End), Status: c.Status, Stream: c.Stream, Account: c.Account, Rule: c.Rule}
		switch {
		case !c.Gone.IsZero():
			call.Done = since(c.Gone)
		case c.End.IsZero():
			call.Done = since(time.Now())
		}
		for j, id := range c.IDs {
			call.Rows = append(call.Rows, stub.Row{ID: id, Seq: seqOf(c.Sent[j])})
		}
	}
	later := map[int]int{} // by call: the one of the rows that were applied after its answer
	for _, change := range log.Changes {
		at, row := change.Call-1, change.Row
		if end := log.Calls[at].End; !end.IsZero() && change.At.After(end) {
			more, there := later[at]
			if !there {
				more = len(calls)
				later[at] = more
				calls = append(calls, stub.Call{Received: since(change.At), Done: since(change.At), Stream: change.Stream, Account: calls[at].Account})
			}
			at, row = more, len(calls[more].Rows)
			calls[at].Rows = append(calls[at].Rows, stub.Row{ID: change.ID, Seq: seqOf(change.Sent)})
		}
		call := &calls[at]
		call.Late = call.Late || change.Late
		call.Order = cmp.Or(call.Order, int64(change.N))
		call.Rows[row].Applied = true
	}
	return calls
}

func seqOf(sent json.RawMessage) int64 {
	var row struct{ Seq *int64 }
	if json.Unmarshal(sent, &row) != nil || row.Seq == nil {
		return -1
	}
	return *row.Seq
}

// State returns, by stream and contact, the seq that was applied last.
func (v *Vendor) State() map[string]map[string]int64 {
	all := map[string]map[string]int64{}
	for _, change := range v.Log().Changes {
		if all[change.Stream] == nil {
			all[change.Stream] = map[string]int64{}
		}
		all[change.Stream][change.ID] = seqOf(change.Sent)
	}
	return all
}

// Stats returns the counters that are not taken from the log of calls. A call above the
// rate limit is one more than the page allows, however the API counts.
func (v *Vendor) Stats() stub.Stats {
	n := stub.Stats{Statuses: map[int]int64{}, Rules: map[string]int64{}}
	log := v.Log()
	for _, c := range log.Calls {
		n.Calls++
		n.Rows += int64(len(c.IDs))
		n.Statuses[c.Status]++
		if c.Rule != "" {
			n.Rules[c.Rule]++
		}
		if c.End.IsZero() {
			n.InFlight++
		}
	}
	n.AppliedRows = int64(len(log.Changes))
	for _, c := range log.Complaints {
		switch c.Fault {
		case vendorapi.Over:
			n.RateRefused++
		case vendorapi.Crosstalk:
			n.CrossTalk++
		case vendorapi.Twice:
			n.NamedTwice++
		case vendorapi.BadRequest:
			n.Unreadable++
		case vendorapi.InFlight, vendorapi.Abandoned, vendorapi.BadAuth: // the first two are in the log of calls
		}
	}
	return n
}
