//go:build proof

package proof

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// scene is the service and one model of the API, in virtual time.
type scene struct {
	*bubble
	api simulated
	n   int // events so far
}

// onEachModel plays a scene on both models of the API.
func onEachModel(t *testing.T, rules []stub.Rule, change func(*config.Config), play func(t *testing.T, s *scene)) {
	t.Helper()
	for _, api := range models {
		t.Run(api.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := brokenAPI(t, api, rules)
				play(t, &scene{bubble: newBubble(t, host, change), api: host})
			})
		})
	}
}

// change has the service read the next state of a contact, and returns its seq.
func (s *scene) change(stream, id string) int64 {
	s.t.Helper()
	s.n++
	s.add(0, feed.NewUpdate(feed.Contact{Stream: stream, ID: id}, s.n, int64(s.n), feed.Update))
	return int64(s.n)
}

// raw has the service read an event as it is.
func (s *scene) raw(key, value string) {
	s.t.Helper()
	ev := feed.Event{Key: []byte(key)}
	if value != "" {
		ev.Value = []byte(value)
	}
	s.add(0, ev)
}

// traffic has contacts of healthy streams change for a time, one each so often.
func (s *scene) traffic(d, every time.Duration, streams int) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
		s.change(fmt.Sprint("st-healthy", s.n%streams), healthyID(s.n%100))
	}
}

// has reports whether the API has a state of a contact.
func (s *scene) has(stream, id string, seq int64) bool { return s.api.State()[stream][id] == seq }

// callsOf are the calls for a stream.
func (s *scene) callsOf(stream string) (calls []stub.Call) {
	for _, c := range s.api.Calls() {
		if c.Stream == stream {
			calls = append(calls, c)
		}
	}
	return calls
}

// oldest is how old events became before they were completed.
func (s *scene) oldest() time.Duration {
	ages, _ := s.took(time.Time{})
	return quantile(ages, 1)
}

// late is how many events that came after a time took longer than that.
func (s *scene) late(after time.Time, most time.Duration) (n int) {
	for _, e := range s.completed() {
		if e.opened.After(after) && e.age > most {
			n++
		}
	}
	return n
}

// wantLetters fails unless the dead letters are those of contacts, for a reason.
func (s *scene) wantLetters(reason contactsync.Reason, contacts ...string) {
	s.t.Helper()
	var got []string
	for _, l := range s.deadLetters() {
		if got = append(got, l.Contact); l.Reason != reason {
			s.t.Errorf("a dead letter of %s is for %s: %s, want %s", l.Contact, l.Reason, l.Detail, reason)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, contacts) {
		s.t.Errorf("dead letters of %q, want %q", got, contacts)
	}
}

// template is an event of a contact, with members of the envelope and of the contact besides.
func template(stream, id, envelope, contact string) string {
	return fmt.Sprintf(`{"streamId":%q,%s"contact":{"id":%q,%s"firstName":"Ann","lastName":"Doe","salutation":"Mrs",`+
		`"cellPhone":{"extension":"+","phoneNumber":"2445","countryCode":"+91"},"seq":1}}`, stream, envelope, id, contact)
}
