//go:build proof

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

// An ObjectId is one in any case: what a feed spells in two ways is one contact of the
// API, so it is in one request at a time, once, and its newest state is applied last.
func TestAnswers_TwoSpellingsOfAContact(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(limited(t), 30*time.Second, errors.New("I9: not all events have ended"))
	defer cancel()
	l := newLab(t, 1)
	const stream, contacts, rounds = "st-spelled", 30, 6
	api, err := l.AddVendor(vendorapi.Config{Accounts: []vendorapi.Account{harness.VendorAccount("acme", stream)}, Latency: 30 * time.Millisecond})
	must(t, err)
	l.Config.Upstream.Accounts = append(l.Config.Upstream.Accounts, l.Account("acme", api, 0, time.Second, stream))
	l.Config.Batcher.Linger, l.Config.Batcher.MaxRows = 10*time.Millisecond, 7 // so that several requests are made of each state
	replica := l.start(options{}, nil)
	for round := range rounds {
		var spelled []feed.Contact
		var events []feed.Event
		for n := range contacts {
			id := fmt.Sprintf("6964af60%016x", 0xabcdef00+n)
			if (n+round)%2 == 0 {
				id = strings.ToUpper(id)
			}
			spelled = append(spelled, feed.Contact{Stream: stream, ID: id})
			events = append(events, feed.NewUpdate(spelled[n], n, int64(round+1), feed.Update))
		}
		_, err := l.Put(ctx, spelled, events)
		must(t, err)
	}
	must(t, harness.Wait(ctx, func() bool { return replica.Series().Value("batcher_events_completed_total") >= contacts*rounds }))
	log := api.Log()
	for _, c := range log.Complaints {
		t.Error(c)
	}
	version := func(sent json.RawMessage) (int64, bool) {
		var row struct{ Seq int64 }
		err := json.Unmarshal(sent, &row)
		return row.Seq, err == nil
	}
	for _, c := range log.Falls(version) {
		t.Errorf("an older state of %s after a newer one: %s", c.ID, c.Sent)
	}
	for n := range contacts {
		fields, _ := api.Contact(stream, fmt.Sprintf("6964af60%016x", 0xabcdef00+n))
		phone, _ := fields["cellPhone"].(map[string]any)
		if number, _ := phone["phoneNumber"].(string); !strings.HasSuffix(number, fmt.Sprintf("%04d", rounds)) {
			t.Errorf("contact %d ends with number %q: not its last state", n, number)
		}
	}
}
