package batcher

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

const (
	// logEvery is how often a line about the same thing is written at most.
	logEvery = time.Minute
	// logEventsKept bounds the lines that wait to be written. The metrics count what
	// is more.
	logEventsKept = 100
	// streamsCounted bounds the streams that are told apart for a line about dead letters.
	streamsCounted = 1000
)

// LogEvent is one line for the log.
type LogEvent struct {
	Level slog.Level
	Text  string
	Args  []any
}

// eventLog collects what an operator wants to read. A line for each request or event
// would hide what matters, so what comes often is written once a minute, by the first
// of its kind, and what lasts also when it is over. The metrics have the numbers.
type eventLog struct {
	lines   []LogEvent            // since take
	written map[string]time.Time  // when a line about a topic was last written
	lasting map[string]*condition // what goes on, by topic

	deadLetters map[contactsync.Reason]int // acknowledged since they were last reported
	streams     map[string]bool            // that these are of, up to streamsCounted
	newest      contactsync.DeadLetter
	commands    contactsync.Commands
}

// condition is something that lasts.
type condition struct {
	variant string
	since   time.Time
	count   int                 // how often it was met
	written bool                // the log has it
	streams map[string]struct{} // that it was met with, or before in another variant
}

func newEventLog() eventLog {
	return eventLog{
		written: map[string]time.Time{}, lasting: map[string]*condition{},
		deadLetters: map[contactsync.Reason]int{}, streams: map[string]bool{},
	}
}

// take returns the lines since the last call.
func (l *eventLog) take() []LogEvent {
	lines := l.lines
	l.lines = nil
	return lines
}

// add writes a line.
func (l *eventLog) add(level slog.Level, text string, args ...any) {
	if len(l.lines) < logEventsKept {
		l.lines = append(l.lines, LogEvent{level, text, args})
	}
}

// due reports whether a line about a topic may be written again; the caller then
// writes it.
func (l *eventLog) due(now time.Time, topic string) bool {
	if last, ok := l.written[topic]; ok && now.Sub(last) < logEvery {
		return false
	}
	l.written[topic] = now
	return true
}

// goesOn notes that something lasts, and reports whether to write so. Another variant
// of it is another condition.
func (l *eventLog) goesOn(now time.Time, topic, variant string) (c *condition, write bool) {
	before := l.lasting[topic]
	if c = before; c == nil || c.variant != variant {
		c = &condition{variant: variant, since: now, streams: map[string]struct{}{}}
		if before != nil {
			c.streams = before.streams
		}
		l.lasting[topic] = c
	}
	c.count++
	write = l.due(now, topic+" "+variant)
	c.written = c.written || write
	return c, write
}

// over ends what lasted. It returns nil where nothing did of which the log has a line.
func (l *eventLog) over(topic string) *condition {
	c := l.lasting[topic]
	delete(l.lasting, topic)
	if c == nil || !c.written {
		return nil
	}
	return c
}

// repartitioned notes an event whose contact was in another partition before.
func (l *eventLog) repartitioned(now time.Time, ev *event.Event, from contactsync.Position) {
	if l.due(now, "contacts in two partitions") {
		l.add(slog.LevelWarn, "a contact has events in two partitions, which have no order between them: key the topic by contact or by stream",
			"stream", ev.Contact.Stream, "before", from.String(), "now", ev.Record.String())
	}
}

// hints notes an event whose order hints are not used.
func (l *eventLog) hints(now time.Time, ev *event.Event, ignored []string) {
	if l.due(now, "order hints") {
		l.add(slog.LevelWarn, "what an event says of its order is not used, and the event is taken as it was read; contactsync_batcher_order_hints_ignored_total counts them",
			"reasons", strings.Join(ignored, " "), "stream", ev.Contact.Stream, "position", ev.Record.String())
	}
}

// respelled notes an event whose contact's id was in other case before.
func (l *eventLog) respelled(now time.Time, ev *event.Event) {
	if l.due(now, "respelled contacts") {
		l.add(slog.LevelWarn, "a contact's id comes in upper and in lower case, so its states are sent one after the other instead of merged; contactsync_batcher_contacts_respelled_total counts them",
			"stream", ev.Contact.Stream, "position", ev.Record.String())
	}
}

// unnamed notes a tombstone whose key names nobody.
func (l *eventLog) unnamed(now time.Time, ev *event.Event) {
	if l.due(now, "unnamed tombstones") {
		l.add(slog.LevelWarn, "a tombstone's key names no contact, so it deletes nothing: want streamId/contactId, a contact's id, or JSON with id and streamId",
			"position", ev.Record.String(), "key_bytes", len(ev.Record.Key))
	}
}

// stale notes an event that was dropped.
func (l *eventLog) stale(now time.Time, ev *event.Event) {
	if l.due(now, "stale events") {
		l.add(slog.LevelWarn, "an event is older than what is known of its contact and was dropped; contactsync_batcher_events_skipped_total counts them",
			"stream", ev.Contact.Stream, "position", ev.Record.String())
	}
}

// halved notes a request that was refused as a whole and is cut in two.
func (l *eventLog) halved(now time.Time, b contactsync.Batch, r contactsync.Result) {
	if l.due(now, "whole requests refused") {
		l.add(slog.LevelWarn, "the API refuses whole requests for some of their rows, which takes several calls for each bad row; contactsync_upstream_requests_total counts them",
			"account", b.Account, "stream", b.Stream, "rows", len(b.Rows), "status", r.Status, "detail", r.Detail)
	}
}

// alone notes a contact for which a request of its own was refused, or failed, and that is kept.
func (l *eventLog) alone(now time.Time, c *contact, r contactsync.Result) {
	if l.due(now, "contacts kept alone") {
		l.add(slog.LevelWarn, "a contact was refused, or failed, in a request of its own: it is kept and tried again, and the others of its stream go on; contactsync_batcher_contacts_on_hold counts such contacts (alone)",
			"account", c.stream.account.id, "stream", c.stream.name, "record", c.sources.first.position().String(), "kind", r.Kind.String(), "status", r.Status, "detail", r.Detail)
	}
}

// answeredFor notes that a request of a stream was answered, and reports whether one that the condition was met with fails.
func (c *condition) answeredFor(stream string, fails func(stream string) bool) (another bool) {
	delete(c.streams, stream)
	for other := range c.streams {
		if fails(other) {
			return true
		}
		delete(c.streams, other)
	}
	return false
}

// answer notes whether requests of an account are answered. They are again when they are of each stream: fails tells
// whether those of another one still fail.
func (l *eventLog) answer(now time.Time, b contactsync.Batch, d *Decision, r contactsync.Result, fails func(stream string) bool) {
	if misfits(r) && l.due(now, "answers that do not fit, of "+b.Account) {
		l.add(slog.LevelWarn, "the API's answer does not fit the request; contactsync_upstream_answer_ids_total counts how, and upstream.answer says where ids are looked for",
			"account", b.Account, "stream", b.Stream, "rows", len(b.Rows), "status", r.Status, "detail", r.Detail)
	}
	topic := "requests of " + b.Account
	switch {
	case d.rowsAnswered:
		c := l.lasting[topic]
		if c == nil || c.answeredFor(b.Stream, fails) {
			return
		}
		if l.over(topic) != nil {
			l.add(slog.LevelInfo, "requests are answered again", "account", b.Account, "stream", b.Stream,
				"after_kind", c.variant, "requests", c.count, "lasted", now.Sub(c.since))
		}
	case d.outage:
		c, write := l.goesOn(now, topic, r.Kind.String())
		c.streams[b.Stream] = struct{}{}
		if write {
			l.add(d.level, "requests are not answered; their contacts are kept and sent again",
				"kind", r.Kind.String(), "account", b.Account, "stream", b.Stream, "status", r.Status, "detail", r.Detail,
				"requests", c.count, "since", c.since)
		}
	}
}

// published notes an attempt to write dead letters.
func (l *eventLog) published(now time.Time, p published) {
	const topic = "writing dead letters"
	if p.pending > 0 {
		if c, write := l.goesOn(now, topic, ""); write {
			l.add(slog.LevelError, "dead letters cannot be written; their offsets wait",
				"dead_letters", p.pending, "attempts", p.attempts, "since", c.since, "err", p.err)
		}
		return
	}
	if c := l.over(topic); c != nil {
		l.add(slog.LevelInfo, "dead letters can be written again", "attempts", p.attempts, "lasted", now.Sub(c.since))
	}
}

// remind reports once a minute that streams are on hold, in one line for all.
func (l *eventLog) remind(s *snapshot) {
	const topic = "streams on hold"
	if _, ok := l.written[topic]; !ok || len(s.onHold) == 0 {
		l.written[topic] = s.now // the first reminder comes a minute after the hold was reported
		return
	}
	if l.due(s.now, topic) {
		kinds := s.holds()
		all := kinds.all()
		l.add(slog.LevelError, "streams are on hold; GET /status names them", "unauthorized", kinds[holdUnauthorized].streams,
			"stream_gone", kinds[holdGone].streams, "contract", kinds[holdContract].streams, "rejecting", kinds[holdRejecting].streams, "contacts", all.contacts-kinds[holdFailing].contacts,
			"longest", all.longest, "accounts", strings.Join(s.accountsOnHold(), " "))
	}
}

// full notes whether the window is full, and mostly of streams on hold, or that fail: then nothing is read
// of any partition until somebody decides, or some of their requests are answered.
func (l *eventLog) full(s *snapshot) {
	const topic = "full of holds"
	holds, window := s.holds(), s.w.bytes()
	onHold := holds.all().bytes
	if !s.w.Full() || 2*onHold < window {
		if c := l.over(topic); c != nil {
			l.add(slog.LevelInfo, "the window is no longer full of streams on hold, or that fail: events are read", "lasted", s.now.Sub(c.since))
		}
		return
	}
	if c, write := l.goesOn(s.now, topic, ""); write {
		l.add(slog.LevelError, "the window is full, mostly of streams on hold, or that fail, so no events are read: end a hold with contactsync hold release, give up what waits in it with contactsync hold set-aside, or raise batcher.window_bytes",
			"bytes", window, "on_hold", onHold, "streams", len(s.onHold), "largest", s.largest.name, "account", s.largest.account.id, "kind", s.largestKind.String(),
			"largest_bytes", s.largestBytes, "since", c.since)
	}
}

// parked notes that events of a stream are left to be read again.
func (l *eventLog) parked(now time.Time, key streamKey, from source) {
	if l.due(now, "parked streams") {
		l.add(slog.LevelWarn, "what is on hold has its part of the window: from here on events of the stream are not kept, and are read again when it is no longer on hold, or its requests do not fail any more, or in turn where only contacts of it are; contactsync_consumer_parked_records counts them",
			"account", key.account, "stream", key.name, "from", from.position().String())
	}
}

// unknown notes that contacts have become dead letters because the API has not known them for hold_max.
func (l *eventLog) unknown(now time.Time, st *stream, n int) {
	if n > 0 && l.due(now, "unknown contacts") {
		l.add(slog.LevelWarn, "the API has not known contacts of the stream for hold_max, and has accepted others of it: they go to the dead-letter topic; to send them once more: contactsync dlq replay --stream STREAM --reason stream_gone",
			"account", st.account.id, "stream", st.name, "contacts", n)
	}
}

// unparked notes that all of them were.
func (l *eventLog) unparked(now time.Time, key streamKey, cl *claim) {
	if l.due(now, "streams that were parked") {
		l.add(slog.LevelInfo, "the events of the stream that were not kept have been read again", "account", key.account, "stream", key.name, "topic", cl.Topic, "partition", cl.Partition)
	}
}

// acked notes dead letters that Kafka has acknowledged.
func (l *eventLog) acked(letters []*DeadLetter) {
	for _, d := range letters {
		l.deadLetters[d.Reason]++
		l.newest = d.DeadLetter
		if len(l.streams) < streamsCounted {
			l.streams[d.Stream] = true
		}
	}
}

// report writes how many dead letters there were since the last time, once a minute,
// or at the end whatever the time, with what tells whether they have one cause: of how many streams
// they are, and of the newest one what the API's answer comes to, which is in words of our own.
func (l *eventLog) report(now time.Time, end bool) {
	if len(l.deadLetters) == 0 || !l.due(now, "dead letters") && !end {
		return
	}
	all, reasons := 0, []string{}
	for _, r := range slices.Sorted(maps.Keys(l.deadLetters)) {
		all += l.deadLetters[r]
		reasons = append(reasons, fmt.Sprintf("%s=%d", r, l.deadLetters[r]))
	}
	l.add(slog.LevelWarn, "events were set aside as dead letters; contactsync dlq stats and list show them all, and this command the newest", "dead_letters", all,
		"reasons", strings.Join(reasons, " "), "streams", len(l.streams),
		"stream", l.newest.Stream, "reason", l.newest.Reason, "status", l.newest.Status, "detail", l.newest.Detail, "attempts", l.newest.Attempts, "command", l.commands.ShowDeadLetter(l.newest.Record.Position))
	clear(l.deadLetters)
	clear(l.streams)
}
