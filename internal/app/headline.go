package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/upstream"
)

// Headline is a status in one sentence: whether the replica keeps up, and if not, what is
// in the way.
type Headline struct {
	Text string `json:"text"`
	// Level is good where nothing is in the way, bad where events stand until somebody does
	// something, or the API is back, and else warn.
	Level string `json:"level"`
}

// showsAfter is from when on something shows that a retry may mend.
const showsAfter = 10 * time.Second

// endsSoon is how long before its end a certificate or token shows, as the alert has it.
const endsSoon = 7 * 24 * time.Hour

// newsFor is how long a dead letter shows, and an answer that does not fit its request, as their alerts have it.
const newsFor = 15 * time.Minute

// mostNamed bounds how many accounts, or files, the headline names.
const mostNamed = 3

var gateWords = map[string]string{
	upstream.StateBudgetExhausted: "uses its whole budget",
	upstream.StateThrottled:       "is throttled by the API",
	upstream.StateBreakerHalfOpen: "waits for a first answer of the API",
	upstream.StateBreakerOpen:     "waits for the API, which is down",
}

func (s *Status) headline() Headline {
	if s.Stuck != "" {
		return Headline{"stuck: " + s.Stuck, "bad"}
	}
	h := Headline{Level: "good"}
	says := []string{"nothing waits"}
	if n := s.Window.PendingContacts; n > 0 {
		says[0] = plural(n, "contact waits", "contacts wait")
		if !s.Window.Oldest.IsZero() {
			says[0] += fmt.Sprintf(", the oldest event for %v", Span(s.Time.Sub(s.Window.Oldest)))
		}
	}
	note := func(level, text string) {
		says = append(says, text)
		if h.Level != "bad" {
			h.Level = level
		}
	}
	some := func(level string, texts []string, one, many string) {
		for _, text := range texts[:min(len(texts), mostNamed)] {
			note(level, text)
		}
		if more := len(texts) - mostNamed; more > 0 {
			note(level, plural(more, one, many))
		}
	}
	var unread []string
	for i := range s.Partitions {
		if p := &s.Partitions[i]; !p.State.Read() {
			unread = append(unread, fmt.Sprintf("%s/%d", p.Topic, p.Partition))
		}
	}
	switch len(unread) {
	case 0:
	case 1:
		note("bad", unread[0]+" is not read")
	default:
		note("bad", fmt.Sprintf("%d partitions are not read", len(unread)))
	}
	if since := s.CommitsFailSince; !since.IsZero() && s.Time.Sub(since) >= showsAfter {
		note("bad", fmt.Sprintf("offsets are not committed for %v", Span(s.Time.Sub(since))))
	}
	if s.NotReady != "" {
		note("bad", "not ready: "+inOneLine(s.NotReady))
	}
	var down, busy []string
	for _, account := range slices.Sorted(maps.Keys(s.Gates)) {
		switch state := s.Gates[account].State; state {
		case upstream.StateReady:
		case upstream.StateBreakerOpen:
			down = append(down, "account "+account+" "+gateWords[state])
		default:
			busy = append(busy, "account "+account+" "+gateWords[state])
		}
	}
	some("bad", down, "more account likewise", "more accounts likewise")
	some("warn", busy, "more account likewise", "more accounts likewise")
	held, alone := 0, 0
	var misfits []string
	for i := range s.Window.Accounts {
		a := &s.Window.Accounts[i]
		held += a.HeldStreams
		alone += a.AloneContacts
		if a.InFlight > 0 && a.InFlight >= a.MostInFlight && s.Gates[a.Account].State == upstream.StateReady && s.Window.PendingContacts > a.InFlight {
			note("warn", fmt.Sprintf("account %s has %d of %d requests in flight", a.Account, a.InFlight, a.MostInFlight))
		}
		if at := a.MisfitAt; !at.IsZero() && s.Time.Sub(at) < newsFor {
			misfits = append(misfits, "answers for account "+a.Account+" do not fit the requests")
		}
	}
	some("warn", misfits, "more account likewise", "more accounts likewise")
	switch on := s.Window.Holds; {
	case held == 1 && len(on) == 1:
		note("warn", fmt.Sprintf("stream %s is on hold as %s", on[0].Stream, on[0].Kind))
	case held > 0:
		note("warn", plural(held, "stream is on hold", "streams are on hold"))
	}
	if i := slices.IndexFunc(s.Window.Failing, s.failsByItself); i >= 0 {
		f := &s.Window.Failing[i]
		text := fmt.Sprintf("requests of stream %s fail for %v", f.Stream, Span(s.Time.Sub(f.Since)))
		if n := f.Parked; n > 0 {
			text += ", and " + plural(n, "event of it is", "events of it are") + " left in Kafka for later"
		}
		note("warn", text)
	}
	if alone > 0 {
		note("warn", plural(alone, "contact is refused alone", "contacts are refused alone"))
	}
	if s.Window.Full {
		note("warn", "the window is full")
	}
	if n := s.Window.DeadLettersPending; n > 0 {
		note("warn", plural(n, "dead letter waits for Kafka", "dead letters wait for Kafka"))
	}
	if text := s.lettersOfLate(); text != "" {
		note("warn", text)
	}
	some("warn", s.filesInTheWay(), "more file likewise", "more files likewise")
	h.Text = strings.Join(says, "; ")
	return h
}

// failsByItself reports whether the requests of a stream fail for long while the API is not
// known to be down: else it says so of the whole account.
func (s *Status) failsByItself(f batcher.FailingStatus) bool {
	switch s.Gates[f.Account].State {
	case upstream.StateBreakerOpen, upstream.StateBreakerHalfOpen:
		return false
	}
	return s.Time.Sub(f.Since) >= showsAfter
}

// lettersOfLate says how many of the dead letters that are remembered were written lately, and why the newest was.
func (s *Status) lettersOfLate() string {
	n := 0
	for n < len(s.DeadLetters) && s.Time.Sub(s.DeadLetters[n].At) < newsFor {
		n++
	}
	if n == 0 {
		return ""
	}
	more := ""
	if n == deadletter.MostRecent {
		more = " or more"
	}
	return plural(n, "dead letter", "dead letters") + fmt.Sprintf("%s in %v, the last as %s", more, Span(newsFor), s.DeadLetters[0].Reason)
}

// filesInTheWay says which files cannot be used, or will not for long.
func (s *Status) filesInTheWay() (texts []string) {
	for _, f := range s.Files {
		left := f.Ends.Sub(s.Time)
		switch {
		case !f.RefusedSince.IsZero():
			texts = append(texts, fmt.Sprintf("the file of %s cannot be used for %v", f.Setting, Span(s.Time.Sub(f.RefusedSince))))
		case f.Ends.IsZero(), left >= endsSoon:
		case left > 0:
			texts = append(texts, fmt.Sprintf("the file of %s ends in %v", f.Setting, Span(left)))
		default:
			texts = append(texts, fmt.Sprintf("the file of %s has ended", f.Setting))
		}
	}
	return texts
}

// inOneLine is a reason with the first of its details.
func inOneLine(reason string) string {
	lines := strings.Split(reason, "\n")
	text := strings.Join(lines[:min(len(lines), 2)], " ")
	if more := len(lines) - 2; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Span writes a time as a person says it, in one unit.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f d", d.Hours()/24)
}
