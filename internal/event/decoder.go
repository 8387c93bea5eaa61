package event

import "github.com/contactsync/contactsync"

// Decoder turns records into events. It is not safe for concurrent use.
type Decoder struct {
	read     readFunc // the format
	strict   bool
	maxBytes int
	in       reader
	streams  names
	accounts names
}

// readFunc reads a record with a value into an update or a delete, or says why
// it is neither; then the contact holds at most Stream and ID. Results are values
// so that an event stays off the heap.
type readFunc func(*Decoder, contactsync.Record) (Kind, Contact, *DecodeError)

// NewDecoder returns a Decoder, or an error that lists everything wrong with the settings.
func NewDecoder(cfg Config) (*Decoder, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Decoder{
		read:     reading(cfg.Format),
		strict:   cfg.Validation == Strict,
		maxBytes: int(cfg.MaxEventBytes),
		in:       reader{maxDepth: cfg.MaxDepth},
		streams:  names{},
		accounts: names{},
	}, nil
}

// reading returns what reads records of a format; nil for an unknown one.
func reading(format string) readFunc {
	switch format {
	case NativeFormat:
		return (*Decoder).native
	}
	return nil
}

// Decode says what a record means. The event refers to the record's slices; the
// Decoder writes to none of them.
func (d *Decoder) Decode(rec contactsync.Record) (e Event) {
	e.Record = rec
	switch {
	case len(rec.Key) > d.maxBytes:
		e.Err = newDecodeError(contactsync.ReasonUndecodable, "the key has %d bytes: at most %d", len(rec.Key), d.maxBytes)
	case rec.Value == nil:
		e.Kind = Tombstone
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
	return e
}
