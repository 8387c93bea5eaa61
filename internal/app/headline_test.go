package app

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/upstream"
)

func TestHeadline(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		change func(*Status)
		text   string
		level  string
	}{
		"idle": {func(*Status) {}, "nothing waits", "good"},
		"work": {func(s *Status) {
			s.Window.PendingContacts, s.Window.Oldest = 1, now.Add(-90*time.Minute)
		}, "1 contact waits, the oldest event for 90 min", "good"},
		"budget": {func(s *Status) {
			s.Gates["b"] = Gate{State: upstream.StateBudgetExhausted}
		}, "nothing waits; account b uses its whole budget", "warn"},
		"breaker before budget": {func(s *Status) {
			s.Gates["a"], s.Gates["b"] = Gate{State: upstream.StateBudgetExhausted}, Gate{State: upstream.StateBreakerOpen}
		}, "nothing waits; account b waits for the API, which is down; account a uses its whole budget", "bad"},
		"many accounts": {func(s *Status) {
			for _, a := range []string{"b", "c", "d", "e", "f"} {
				s.Gates[a] = Gate{State: upstream.StateThrottled}
			}
		}, "nothing waits; account b is throttled by the API; account c is throttled by the API; account d is throttled by the API; 2 more accounts likewise", "warn"},
		"a partition": {func(s *Status) {
			s.Partitions = []consumer.Partition{{State: consumer.Reading}, {Topic: "contacts", Partition: 7, State: consumer.Halted}}
		}, "nothing waits; contacts/7 is not read", "bad"},
		"partitions": {func(s *Status) {
			s.Partitions = []consumer.Partition{{State: consumer.Forbidden}, {State: consumer.Halted}}
		}, "nothing waits; 2 partitions are not read", "bad"},
		"a stream on hold": {func(s *Status) {
			s.Window.Accounts = []batcher.AccountStatus{{HeldStreams: 1}}
			s.Window.Holds = []batcher.HoldStatus{{Stream: "st-7", Kind: "stream_gone"}}
		}, "nothing waits; stream st-7 is on hold as stream_gone", "warn"},
		"a stream fails": {func(s *Status) {
			s.Window.Failing = []batcher.FailingStatus{{Stream: "st-7", Since: now.Add(-time.Minute)}, {Stream: "st-8", Since: now}}
		}, "nothing waits; requests of stream st-7 fail for 60 s", "warn"},
		"a stream has just failed": {func(s *Status) {
			s.Window.Failing = []batcher.FailingStatus{{Stream: "st-7", Since: now.Add(-9 * time.Second)}}
		}, "nothing waits", "good"},
		"a stream fails in an outage": {func(s *Status) {
			s.Gates["a"], s.Window.Failing = Gate{State: upstream.StateBreakerOpen}, []batcher.FailingStatus{{Account: "a", Stream: "st-7", Since: now.Add(-time.Minute)}}
		}, "nothing waits; account a waits for the API, which is down", "bad"},
		"a stream fails in an outage whose end is tried": {func(s *Status) {
			s.Gates["a"], s.Window.Failing = Gate{State: upstream.StateBreakerHalfOpen}, []batcher.FailingStatus{{Account: "a", Stream: "st-7", Since: now.Add(-time.Minute)}}
		}, "nothing waits; account a waits for a first answer of the API", "warn"},
		"a stream fails beside the outage of another account": {func(s *Status) {
			s.Gates["b"] = Gate{State: upstream.StateBreakerOpen}
			s.Window.Failing = []batcher.FailingStatus{{Account: "b", Stream: "st-7", Since: now.Add(-2 * time.Minute)}, {Account: "a", Stream: "st-8", Since: now.Add(-time.Minute)}}
		}, "nothing waits; account b waits for the API, which is down; requests of stream st-8 fail for 60 s", "bad"},
		"a slow API": {func(s *Status) {
			s.Window.PendingContacts, s.Window.Accounts = 100, []batcher.AccountStatus{{Account: "a", InFlight: 4, MostInFlight: 4}}
		}, "100 contacts wait; account a has 4 of 4 requests in flight", "warn"},
		"slots that are used": {func(s *Status) {
			s.Window.PendingContacts, s.Window.Accounts = 4, []batcher.AccountStatus{{Account: "a", InFlight: 4, MostInFlight: 4}}
		}, "4 contacts wait", "good"},
		"answers that do not fit": {func(s *Status) {
			s.Window.Accounts = []batcher.AccountStatus{{Account: "a", MisfitAt: now.Add(-time.Minute)}, {Account: "b", MisfitAt: now.Add(-15 * time.Minute)}, {Account: "c"}}
		}, "nothing waits; answers for account a do not fit the requests", "warn"},
		"dead letters": {func(s *Status) {
			s.DeadLetters = []deadletter.Written{{At: now, Reason: "rejected"}, {At: now.Add(-14 * time.Minute), Reason: "unanswered"}, {At: now.Add(-15 * time.Minute)}}
		}, "nothing waits; 2 dead letters in 15 min, the last as rejected", "warn"},
		"more dead letters than are remembered": {func(s *Status) {
			for range deadletter.MostRecent {
				s.DeadLetters = append(s.DeadLetters, deadletter.Written{At: now, Reason: "rejected"})
			}
		}, "nothing waits; 50 dead letters or more in 15 min, the last as rejected", "warn"},
		"old dead letters": {func(s *Status) {
			s.DeadLetters = []deadletter.Written{{At: now.Add(-time.Hour), Reason: "rejected"}}
		}, "nothing waits", "good"},
		"a file": {func(s *Status) {
			s.Files = []keyfile.Report{
				{Setting: "kafka.tls.ca_file", Ends: now.Add(8 * 24 * time.Hour)},
				{Setting: "upstream.ca_file", Ends: now.Add(6 * 24 * time.Hour)},
				{Setting: "upstream.cert_file", Ends: now},
				{Setting: "upstream.key_file", RefusedSince: now.Add(-5 * time.Minute)},
			}
		}, "nothing waits; the file of upstream.ca_file ends in 6 d; the file of upstream.cert_file has ended; the file of upstream.key_file cannot be used for 5 min", "warn"},
		"files": {func(s *Status) {
			for range 5 {
				s.Files = append(s.Files, keyfile.Report{Setting: "a", RefusedSince: now})
			}
		}, "nothing waits; the file of a cannot be used for 0.0 s; the file of a cannot be used for 0.0 s; the file of a cannot be used for 0.0 s; 2 more files likewise", "warn"},
		"commits":              {func(s *Status) { s.CommitsFailSince = now.Add(-75 * time.Second) }, "nothing waits; offsets are not committed for 75 s", "bad"},
		"a commit that failed": {func(s *Status) { s.CommitsFailSince = now.Add(-time.Second) }, "nothing waits", "good"},
		"a feed that is skipped is read": {func(s *Status) {
			s.Partitions = []consumer.Partition{{State: consumer.FeedSkipped}}
		}, "nothing waits", "good"},
		"not ready": {func(s *Status) { s.NotReady = "no partitions yet" }, "nothing waits; not ready: no partitions yet", "bad"},
		"not ready for reasons": {func(s *Status) {
			s.NotReady = "none is read:\ncontacts/0 is halted\ncontacts/1 is halted\ncontacts/2 is missing"
		}, "nothing waits; not ready: none is read: contacts/0 is halted, and 2 more", "bad"},
		"stuck": {func(s *Status) { s.Stuck, s.NotReady = "the loop does not turn", "x" }, "stuck: the loop does not turn", "bad"},
		"holds, letters and a full window": {func(s *Status) {
			s.Window.Accounts = []batcher.AccountStatus{{HeldStreams: 1, AloneContacts: 1}, {HeldStreams: 2}}
			s.Window.Full, s.Window.DeadLettersPending = true, 1
		}, "nothing waits; 3 streams are on hold; 1 contact is refused alone; the window is full; 1 dead letter waits for Kafka", "warn"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Status{Time: now, Gates: map[string]Gate{"a": {State: upstream.StateReady}}}
			c.change(&s)
			if got := s.headline(); got.Text != c.text || got.Level != c.level {
				t.Errorf("%q (%s), not %q (%s)", got.Text, got.Level, c.text, c.level)
			}
		})
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0.0 s", 9900 * time.Millisecond: "9.9 s", 119 * time.Second: "119 s",
		2 * time.Minute: "2 min", 119 * time.Minute: "119 min", 2 * time.Hour: "2 h", 72 * time.Hour: "3 d",
	} {
		if got := Span(d); got != want {
			t.Errorf("%v is %q, not %q", d, got, want)
		}
	}
}
