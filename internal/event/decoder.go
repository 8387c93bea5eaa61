package event

import (
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/crash"
)

// Route returns the account that a stream belongs to; account is the one that the
// event names, empty for none. It is safe for concurrent use.
type Route func(stream, account string) (accountID string, ok bool)

// Decoder turns records into events. It is not safe for concurrent use.
type Decoder struct {
	read     readFunc // the format
	route    Route    // nil for none
	strict   bool
	maxBytes int
	in       reader
	streams  names
	accounts names
	past     time.Time // a time that is past
}

// readFunc reads a record with a value into an update or a delete, or returns why
// it is neither; then the contact holds at most Stream and ID. Results are values
// so that an event stays off the heap.
type readFunc func(*Decoder, contactsync.Record) (Kind, Contact, *DecodeError)

// NewDecoder returns a Decoder, or an error that lists everything wrong with the
// settings. Without a route, an update keeps the account that its event names.
func NewDecoder(cfg Config, route Route) (*Decoder, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Decoder{
		read:     reading(cfg.Format),
		route:    route,
		strict:   cfg.Validation == Strict,
		maxBytes: int(cfg.MaxEventBytes),
		in:       reader{maxDepth: cfg.MaxDepth},
		streams:  names{},
		accounts: names{},
	}, nil
}

// Clone returns a Decoder with the same settings, for another goroutine.
func (d *Decoder) Clone() *Decoder {
	return &Decoder{
		read: d.read, route: d.route, strict: d.strict, maxBytes: d.maxBytes,
		in: reader{maxDepth: d.in.maxDepth}, streams: names{}, accounts: names{},
	}
}

// reading returns what reads records of a format; nil for an unknown one.
func reading(format string) readFunc {
	switch format {
	case NativeFormat:
		return (*Decoder).native
	}
	return nil
}

// Decode reads a record. The event refers to the record's slices; the
// Decoder writes to none of them.
func (d *Decoder) Decode(rec contactsync.Record) (e Event) {
	e.Record = rec
	defer func() {
		if v := recover(); v != nil { // which harms this event alone
			e = Event{Record: rec, Err: newDecodeError(contactsync.ReasonUndecodable, "BUG: reading it panicked: %s", crash.Said(v))}
			*d = *d.Clone() // what it was reading is given up
		}
	}()
	switch {
	case len(rec.Key) > d.maxBytes:
		e.Err = newDecodeError(contactsync.ReasonUndecodable, "the key has %d bytes: at most %d", len(rec.Key), d.maxBytes)
	case rec.Value == nil:
		e.Kind = Tombstone
		e.Contact.Stream, e.Contact.ID = d.tombstoneKey(rec.Key, 0)
	case len(rec.Value) == 0:
		e.Err = newDecodeError(contactsync.ReasonUndecodable, "the value is empty: a tombstone has none")
	case len(rec.Value) > d.maxBytes:
		e.Err = newDecodeError(contactsync.ReasonUndecodable, "the value has %d bytes: at most %d", len(rec.Value), d.maxBytes)
	default:
		e.Kind, e.Contact, e.Err = d.read(d, rec)
	}
	if e.Err == nil && len(rec.Headers) > 0 {
		var err error
		if e.Replay, err = ReadReplay(rec.Headers); err != nil {
			// Taken for an event of now it could beat a newer one.
			e.Kind, e.Err = Broken, newDecodeError(contactsync.ReasonInvalid, "the record says that it is a replay, but %v", err)
			e.Contact = Contact{Stream: e.Contact.Stream, ID: e.Contact.ID}
		}
	}
	if !e.Contact.OccurredAt.IsZero() {
		d.dropAhead(&e)
	}
	if d.route != nil && (e.Kind == Update || e.Kind == Delete) {
		d.assign(&e)
	}
	return e
}

// maxAhead is how far occurredAt may lie ahead of Kafka's time of the record, or of now:
// as much as clocks differ.
const maxAhead = 5 * time.Minute

// dropAhead leaves out an occurredAt that is not yet: by it one event with a wrong clock
// would make all that follow stale. A replay goes by the record that was first read.
func (d *Decoder) dropAhead(e *Event) {
	read := e.Record.Time
	if e.Replay != nil {
		read = e.Replay.OriginTime
	}
	at := e.Contact.OccurredAt.Add(-maxAhead)
	if at.After(d.past) {
		d.past = time.Now() // which is rarely asked, because it only grows
	}
	if at.After(d.past) || at.After(read) && read.UnixMilli() > 0 { // else the record has no time
		e.Contact.OccurredAt = time.Time{}
		e.Contact.Ignored |= OccurredAtAhead
	}
}

// assign gives an event the account of its stream. A delete is sent to nobody, so it needs none.
func (d *Decoder) assign(e *Event) {
	account, ok := d.route(e.Contact.Stream, e.Contact.Account)
	switch {
	case ok:
		e.Contact.Account = account
	case e.Kind == Update:
		e.Kind, e.Err = Broken, newDecodeError(contactsync.ReasonUnmapped,
			"no account in upstream.accounts takes stream %q of account %q", e.Contact.Stream, e.Contact.Account)
	}
}
