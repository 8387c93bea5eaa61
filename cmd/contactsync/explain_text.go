package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/explain"
	"github.com/contactsync/contactsync/upstream"
)

// explainText writes a story for a person, with commands that can be run. Lines are broken at
// width; 0 is no bound.
func explainText(s *explain.Story, commands contactsync.Commands, width int) string {
	var b strings.Builder
	said := once{}
	fmt.Fprintf(&b, "contact %s of stream %s\n", clean(s.Contact), clean(s.Stream))
	for i := range s.Events {
		e := &s.Events[i]
		b.WriteString("\n" + wrap(strings.TrimSuffix(clean(e.Position)+": "+eventFacts(e), ": "), 0, width))
		for _, line := range eventStory(s, e, commands, said) {
			b.WriteString(wrap(line, 2, width))
		}
	}
	b.WriteString("\n")
	if len(s.Events) == 0 {
		b.WriteString("no event of the contact is known\n")
	}
	for _, line := range storyNotes(s) {
		b.WriteString(wrap(line, 0, width))
	}
	return b.String()
}

// once are the reasons that were given: an event that has the reason of one before it is
// told without.
type once map[string]bool

// say adds a reason to what it is the reason of, the first time.
func (o once) say(what, why string) string {
	if o[why] {
		return what
	}
	o[why] = true
	return what + ": " + why
}

// eventFacts are what an event says of itself.
func eventFacts(e *explain.Event) string {
	var facts []string
	add := func(format string, a ...any) { facts = append(facts, fmt.Sprintf(format, a...)) }
	if e.Kind != "" {
		add("%s", clean(e.Kind))
	}
	if e.Version != nil {
		add("version %d", *e.Version)
	}
	if !e.OccurredAt.IsZero() {
		add("occurred %s", stamp(e.OccurredAt))
	}
	if !e.Recorded.IsZero() {
		add("recorded %s", stamp(e.Recorded))
	}
	if e.Origin != "" {
		add("a replay of %s", clean(e.Origin))
	}
	return strings.Join(facts, ", ")
}

// eventStory says what became of an event.
func eventStory(s *explain.Story, e *explain.Event, commands contactsync.Commands, said once) (lines []string) {
	add := func(format string, a ...any) { lines = append(lines, fmt.Sprintf(format, a...)) }
	switch e.State {
	case batcher.EventWaiting:
		add("waits: %s", waitsFor(s, e, said))
		if e.Ahead > 0 {
			add("contacts of its stream that go before it: %d", e.Ahead)
		}
		if e.Request != nil {
			add("sent %d times, the last time in %s", e.Sends, request(e.Request))
		}
	case batcher.EventInFlight, batcher.EventDeleteAfter:
		add("sent in %s; attempt %d", request(e.Request), e.Sends)
		if e.State == batcher.EventDeleteAfter {
			add("a delete has come after it: it is not sent again")
		}
	case batcher.EventMerged:
		add("superseded before it was sent: it is part of %s", clean(e.Into))
	case batcher.EventDelivered:
		add("accepted by the API in %s", request(e.Request))
	case batcher.EventEnded:
		add("%s", said.say("completed without a request of this process", "it is a delete, or an earlier owner of the partition had completed it"))
	case batcher.EventDeadLetter:
		lines = append(lines, deadLetterStory(e, commands)...)
	default:
		add("%s", toldByTopics(s, e, said))
	}
	if e.MaybeApplied {
		add("a request with it ended without a usable answer: it may have been applied")
	}
	done := slices.Contains([]batcher.EventState{batcher.EventDelivered, batcher.EventEnded, explain.StateHandled, explain.StateSkipped, explain.StateStale}, e.State) ||
		e.State == batcher.EventDeadLetter && e.WaitsFor == ""
	switch {
	case e.Committed == nil && len(s.Topics) > 0:
		add("whether it is committed is not known")
	case e.Committed == nil:
		add("%s", said.say("whether it is committed is not known", "the partition belongs to no replica that was asked"))
	case *e.Committed:
		add("committed: the offset is %d", e.Commit)
	case done && e.Commit < 0:
		add("not committed yet")
	case done:
		add("%s", said.say(fmt.Sprintf("not below the commit, which is at %d", e.Commit), "an older event of the partition is not completed; that this one is, is kept with the commit"))
	case e.Commit < 0:
		add("not committed: nothing of the partition is yet")
	default:
		add("not committed: the offset is %d", e.Commit)
	}
	return lines
}

// toldByTopics says what became of an event of which no replica knows.
func toldByTopics(s *explain.Story, e *explain.Event, said once) string {
	switch e.State {
	case explain.StateHandled:
		switch {
		case s.DeadLetterTopic == nil || s.DeadLetterTopic.Error != "":
			return said.say("completed, perhaps as a dead letter", "that topic was not read")
		case e.Kind == event.Broken.String() && e.Into == "":
			return said.say("completed", "it could not be sent, and its dead letter is not in the topic any more")
		}
		what := "accepted by the API"
		if e.Into != "" {
			what += ", by itself or as a part of " + clean(e.Into)
		}
		return said.say(what, "it is completed, and has no dead letter")
	case explain.StateSkipped:
		return "completed: nothing is sent for a " + clean(e.Kind)
	case explain.StateStale:
		return fmt.Sprintf("dropped: it is older than %s, which was read before it", clean(e.Into))
	case explain.StateUnread:
		return said.say("waits to be read", "the replica that owns its partition has not come to it")
	case explain.StateLeft:
		return said.say("left in Kafka", "what is on hold has its part of the window, and it is read again when its stream is no longer on hold, or in turn where only contacts of it are")
	case explain.StateOpen:
		return said.say("not completed", "ask the replica that owns its partition, by --admin")
	case explain.StateUnknown:
		return "whether it is completed is not known"
	}
	return clean(string(e.State))
}

func deadLetterStory(e *explain.Event, commands contactsync.Commands) []string {
	d := e.DeadLetter
	text := "dead letter: " + clean(d.Reason)
	if e.WaitsFor != "" {
		text = "becomes a dead letter, which Kafka has not acknowledged: " + clean(d.Reason)
	}
	if d.Status != 0 {
		text += fmt.Sprintf(", status %d", d.Status)
	}
	if d.Attempts != 0 {
		text += fmt.Sprintf(", after %d requests", d.Attempts)
	}
	if !d.Written.IsZero() {
		text += ", written " + stamp(d.Written)
	}
	if d.At != "" {
		text += " at " + clean(d.At)
	}
	lines := []string{text}
	if d.Detail != "" {
		lines = append(lines, clean(d.Detail))
	}
	if at, err := contactsync.ParsePosition(d.Record); err == nil && e.WaitsFor == "" {
		lines = append(lines, commands.ShowDeadLetter(at))
	}
	return lines
}

// request says what is known of one.
func request(r *batcher.RequestStatus) string {
	if r == nil {
		return "a request"
	}
	text := fmt.Sprintf("request %d", r.Number)
	if r.At.IsZero() {
		return text + ", which is too long ago to be remembered"
	}
	text += fmt.Sprintf(" at %s (%s, contacts: %d)", stamp(r.At), clean(r.Purpose), r.Rows)
	if r.Kind == "" {
		return text + ", which is not answered yet"
	}
	text += fmt.Sprintf(": %s after %s", clean(r.Kind), app.Span(r.Answered.Sub(r.At)))
	if r.Status != 0 {
		text += fmt.Sprintf(", status %d", r.Status)
	}
	if r.Detail != "" {
		text += ", " + clean(r.Detail)
	}
	return text
}

// waits are what an event can wait for.
var waits = map[string]string{
	"earlier_state":                 "for an earlier state of the contact, which is sent first",
	"catch_up":                      "for its partition to be read up to where it ended when this replica took it over",
	"account_hold":                  "for the hold of its account, or of the app that signs for its stream",
	"release":                       "for the next owner: the partitions are being given back",
	"isolation":                     "for its turn among rows that are tried apart, because requests with them failed",
	"ambiguous":                     "for a request that had no usable answer, and may still be applied",
	"retry":                         "to be tried again",
	"backoff":                       "for its stream, whose last request failed",
	"rows":                          "for more contacts of its stream, which share its request",
	"request":                       "for a request of its stream that is in flight",
	"slots":                         "for one of the account's requests in flight to end: there are as many as may be",
	"gate":                          "for the budget, or the breaker",
	"turn":                          "for its turn: streams with older events go first",
	"lease":                         "for Kafka to confirm that the partition is still owned",
	upstream.StateBudgetExhausted:   "for the budget of its account",
	upstream.StateThrottled:         "because the API asked to wait",
	upstream.StateBreakerOpen:       "for the circuit breaker of its host, which has failed",
	upstream.StateBreakerHalfOpen:   "for the one request that tests whether its host is back",
	batcher.WaitsForHold:            "for the hold of its stream",
	batcher.WaitsForDeadLetterTopic: "for the dead-letter topic",
}

func waitsFor(s *explain.Story, e *explain.Event, said once) string {
	text, known := waits[e.WaitsFor]
	if !known {
		text = "for " + clean(e.WaitsFor)
	}
	when, until := ", until", ""
	i := slices.IndexFunc(s.Holds, func(h batcher.HoldStatus) bool { return h.Account == e.Account })
	hold := e.WaitsFor == batcher.WaitsForHold && i >= 0
	if hold {
		when = "; it is tried again at"
	}
	if !e.Until.IsZero() {
		until = fmt.Sprintf("%s %s (in %s)", when, stamp(e.Until), app.Span(max(e.Until.Sub(s.Time), 0)))
	}
	if !hold {
		return text + until
	}
	h := &s.Holds[i]
	why := fmt.Sprintf("%s since %s, probes refused: %d, the last status %d", clean(h.Kind), stamp(h.Since), h.Probes, h.Status)
	if h.Detail != "" {
		why += " (" + clean(h.Detail) + ")"
	}
	return said.say(text, why+until)
}

// storyNotes are what is to be said of the whole.
func storyNotes(s *explain.Story) (notes []string) {
	add := func(format string, a ...any) { notes = append(notes, fmt.Sprintf(format, a...)) }
	if s.WaitUntil.After(s.Time) {
		add("the contact was deleted while a request with it was unanswered: what comes next of it waits until %s", stamp(s.WaitUntil))
	}
	for i := range s.Parked {
		p := &s.Parked[i]
		add("%d events of the stream in %s/%d are left to be read again, the oldest of %s: the contact's may be among them", p.Events, clean(p.Topic), p.Partition, stamp(p.Oldest))
	}
	notes = append(notes, topicNotes(s)...)
	for i := range s.Replicas {
		r := &s.Replicas[i]
		switch {
		case r.Error != "":
			add("replica %s did not answer: %s", clean(r.Admin), clean(r.Error))
			continue
		case !r.Known:
			add("replica %s remembers nothing of the contact; it has run since %s", clean(r.Admin), stamp(r.Since))
		}
		add("replica %s owns %s", clean(r.Admin), partitions(r.Partitions))
	}
	return notes
}

// topicNotes say what was read of the topics.
func topicNotes(s *explain.Story) (notes []string) {
	add := func(format string, a ...any) { notes = append(notes, fmt.Sprintf(format, a...)) }
	for i := range s.Topics {
		t := &s.Topics[i]
		text := fmt.Sprintf("looked at %d records of %s, in %d of %d partitions: %d of %d offsets", t.Records, clean(t.Topic), t.PartitionsRead, t.Partitions, t.OffsetsRead, t.Offsets)
		if !t.Oldest.IsZero() {
			text += ", back to " + stamp(t.Oldest)
		}
		if t.OffsetsRead < t.Offsets && t.Error == "" {
			text += "; older events, and those of other partitions, are not told (--records, --since, --key)"
		}
		if t.Unreadable > 0 {
			text += fmt.Sprintf("; %d of them cannot be assigned to a contact", t.Unreadable)
		}
		if t.Error != "" {
			text += "; the rest cannot be read: " + clean(t.Error)
		}
		add("%s", text)
	}
	if s.Left > 0 {
		add("%d older events of the contact are not shown (--events)", s.Left)
	}
	if d := s.DeadLetterTopic; d != nil && d.Error != "" {
		add("%s cannot be read: %s", clean(d.Topic), clean(d.Error))
	} else if d != nil {
		add("looked at %d dead letters in %s", d.DeadLetters, clean(d.Topic))
	}
	if s.CommitError != "" {
		add("what is committed is not known of all: %s", clean(s.CommitError))
	}
	for _, o := range s.Owners {
		add("%s/%d is owned by a replica that did not answer or was not asked: client %s at %s", clean(o.Topic), o.Partition, clean(o.Client), clean(o.Host))
	}
	return notes
}

// partitions names the first few.
func partitions(owned []consumer.Partition) string {
	const most = 20
	if len(owned) == 0 {
		return "no partition"
	}
	sorted := slices.SortedFunc(slices.Values(owned), func(a, b consumer.Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	var names []string
	for i := range sorted[:min(len(sorted), most)] {
		p := &sorted[i]
		name := fmt.Sprintf("%s/%d", clean(p.Topic), p.Partition)
		if !p.State.Read() {
			name += fmt.Sprintf(" (%s)", clean(string(p.State)))
		}
		names = append(names, name)
	}
	text := strings.Join(names, " ")
	if more := len(sorted) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// wrap breaks a line at spaces, where it is longer than width. Each begins with an indent, and
// what follows the first with two more.
func wrap(line string, indent, width int) string {
	var b strings.Builder
	at := 0
	for word := range strings.FieldsSeq(line) {
		n := len([]rune(word))
		switch {
		case at == 0:
			b.WriteString(strings.Repeat(" ", indent))
			at = indent
		case width > 0 && at+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent+2))
			at = indent + 2
		default:
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String() + "\n"
}
