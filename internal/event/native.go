package event

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/contactsync/contactsync"
)

// draft is a native event while it is read. Only the first error of each sort
// counts, and none of them ends the reading: what is not well-formed must be
// found first, and op, which may stand behind the contact, decides which count.
type draft struct {
	contact    Contact
	have       fieldSet
	hasContact bool
	hasStream  bool
	deleted    bool
	// absentFrom and absentTo are where the contact has a member that is as good as absent.
	absentFrom, absentTo int64

	err    *DecodeError // of what every event needs
	fields *DecodeError // of the contact's fields, which a delete does without
}

func (w *draft) refuse(format string, args ...any) {
	if w.err == nil {
		w.err = newDecodeError(contactsync.ReasonInvalid, format, args...)
	}
}

func (w *draft) refuseField(format string, args ...any) {
	if w.fields == nil {
		w.fields = newDecodeError(contactsync.ReasonInvalid, format, args...)
	}
}

// native reads the JSON object {streamId, contact, accountId, version,
// occurredAt, op}; other members are ignored once they are known to be well-formed.
func (d *Decoder) native(rec contactsync.Record) (Kind, Contact, *DecodeError) {
	d.in.reset(rec.Value)
	var w draft
	err := d.envelope(&w)
	if err == nil {
		err = d.in.end()
	}
	if err != nil {
		return Broken, Contact{}, d.in.undecodable(err)
	}
	d.missing(&w)
	switch {
	case w.err != nil:
		return Broken, Contact{Stream: w.contact.Stream, ID: w.contact.ID}, w.err
	case w.deleted:
		return Delete, w.contact, nil
	case w.fields != nil:
		return Broken, Contact{Stream: w.contact.Stream, ID: w.contact.ID}, w.fields
	}
	return Update, w.contact, nil
}

// envelope reads the outermost value.
func (d *Decoder) envelope(w *draft) error {
	if k := d.in.json.PeekKind(); k != '{' {
		w.refuse("the event is %s: want an object", describe(k))
		return d.in.skip()
	}
	if err := d.in.open(); err != nil {
		return err
	}
	for {
		quoted, err := d.in.quotedName()
		if quoted == nil {
			return err
		}
		switch member := string(d.in.text(quoted)); {
		case d.in.json.PeekKind() == 'n' && isOptional(member):
			err = d.in.skip() // as serializers write what is absent
		case member == "streamId":
			w.hasStream = true
			w.contact.Stream, err = d.name(w, "streamId", d.streams)
		case member == "accountId":
			w.contact.Account, err = d.name(w, "accountId", d.accounts)
		case member == "contact":
			w.hasContact = true
			err = d.contact(w)
		case member == "version":
			err = d.version(w)
		case member == "occurredAt":
			err = d.occurredAt(w)
		case member == "op":
			err = d.op(w)
		default:
			err = d.in.skip()
		}
		if err != nil {
			return err
		}
	}
}

// isOptional reports whether an event may leave out a member.
func isOptional(member string) bool {
	return member == "accountId" || member == "version" || member == "occurredAt" || member == "op"
}

// word reads a member that has to be a string; ok is false where it is not one,
// which it has refused then.
func (d *Decoder) word(w *draft, member string) (text []byte, ok bool, err error) {
	kind := d.in.json.PeekKind()
	value, err := d.in.scalar(kind)
	if err != nil {
		return nil, false, err
	}
	if kind != '"' {
		w.refuse("%s is %s: want a string (before byte %d)", member, describe(kind), d.in.at())
		return nil, false, nil
	}
	return d.in.text(value), true, nil
}

func (d *Decoder) name(w *draft, member string, n names) (string, error) {
	text, ok, err := d.word(w, member)
	if !ok {
		return "", err
	}
	name, ok := n.get(text)
	if !ok {
		w.refuse("%s does not match %s (before byte %d)", member, contactsync.NamePattern, d.in.at())
	}
	return name, nil
}

// version and occurredAt read an order hint. One that cannot be read costs the hint: the
// contact is as good as without it.
func (d *Decoder) version(w *draft) error {
	kind := d.in.json.PeekKind()
	value, err := d.in.scalar(kind)
	if err != nil {
		return err
	}
	if kind == '0' {
		if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			w.contact.Version, w.contact.HasVersion = n, true
			return nil
		}
	}
	w.contact.Ignored |= VersionUnreadable
	return nil
}

func (d *Decoder) occurredAt(w *draft) error {
	kind := d.in.json.PeekKind()
	value, err := d.in.scalar(kind)
	if err != nil {
		return err
	}
	// UnmarshalText is stricter than Parse, which takes forms outside RFC 3339.
	// The zero time does not count because it would read as absent.
	var t time.Time
	if kind != '"' || t.UnmarshalText(d.in.text(value)) != nil || t.IsZero() {
		w.contact.Ignored |= OccurredAtUnreadable
		return nil
	}
	w.contact.OccurredAt = t.UTC()
	return nil
}

func (d *Decoder) op(w *draft) error {
	text, ok, err := d.word(w, "op")
	if !ok {
		return err
	}
	switch string(text) {
	case "update":
	case "delete":
		w.deleted = true
	default:
		w.refuse("op is unknown: want update or delete (before byte %d)", d.in.at())
	}
	return nil
}

// contact reads the contact and notes where it is.
func (d *Decoder) contact(w *draft) error {
	if kind := d.in.json.PeekKind(); kind != '{' {
		if err := d.in.skip(); err != nil {
			return err
		}
		w.refuse("contact is %s: want an object (before byte %d)", describe(kind), d.in.at())
		return nil
	}
	if err := d.in.open(); err != nil {
		return err
	}
	start := d.in.at() - 1
	if err := d.members(w, inContact, root); err != nil {
		return err
	}
	end := d.in.at()
	w.contact.Body = d.in.value[start:end:end]
	if w.absentTo > 0 {
		w.contact.Body, w.contact.Copied = without(w.contact.Body, w.absentFrom-start, w.absentTo-start), true
	}
	return nil
}

// without is an object without a member, which ends at an offset; the one before it ends where it begins.
func without(object []byte, from, to int64) []byte {
	before, behind := object[:from], object[to:]
	if before[len(before)-1] == '{' { // the comma is behind it, if there is any
		behind = bytes.TrimPrefix(bytes.TrimLeft(behind, " \t\r\n"), []byte(","))
	}
	return slices.Concat(before, behind)
}

// missing refuses a draft that lacks a member.
func (d *Decoder) missing(w *draft) {
	switch {
	case w.err != nil:
	case !w.hasStream:
		w.refuse("streamId is missing")
	case !w.hasContact:
		w.refuse("contact is missing")
	case w.contact.ID == "":
		w.refuse("contact.id is missing")
	case d.strict:
		if f, ok := w.have.lacks(); ok {
			w.refuseField("%s is missing", fieldPaths[f])
		}
	}
}

// describe names the kind of a value, without its content.
func describe(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return "no value"
}
