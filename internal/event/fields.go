package event

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/contactsync/contactsync"
)

// field is a member of a contact that the API documents.
type field uint8

const (
	unknown field = iota
	id
	firstName
	lastName
	fullName
	salutation
	cellPhone
	extension
	phoneNumber
	countryCode
	fieldCount
)

var fieldPaths = [fieldCount]string{
	"contact.*", "contact.id", "contact.firstName", "contact.lastName", "contact.fullName", "contact.salutation",
	"contact.cellPhone", "contact.cellPhone.extension", "contact.cellPhone.phoneNumber", "contact.cellPhone.countryCode",
}

// fieldSet has a bit for each field.
type fieldSet uint16

const required = fieldSet(1<<fieldCount-1) &^ (1<<unknown | 1<<fullName)

// lacks returns the first required field that is not in the set.
func (s fieldSet) lacks() (field, bool) {
	for f := id; f < fieldCount; f++ {
		if required&^s&(1<<f) != 0 {
			return f, true
		}
	}
	return unknown, false
}

// place is the object whose members are read.
type place uint8

const (
	elsewhere place = iota
	inContact
	inCellPhone
)

func fieldAt(p place, name []byte) field {
	switch p {
	case inContact:
		switch string(name) {
		case "id":
			return id
		case "firstName":
			return firstName
		case "lastName":
			return lastName
		case "fullName":
			return fullName
		case "salutation":
			return salutation
		case "cellPhone":
			return cellPhone
		}
	case inCellPhone:
		switch string(name) {
		case "extension":
			return extension
		case "phoneNumber":
			return phoneNumber
		case "countryCode":
			return countryCode
		}
	}
	return unknown
}

// known reports whether the format defines a member of this name.
func known(name string) bool {
	switch name {
	case "streamId", "contact", "accountId", "version", "occurredAt", "op":
		return true
	}
	return fieldAt(inContact, []byte(name)) != unknown || fieldAt(inCellPhone, []byte(name)) != unknown
}

// members reads the members of an object whose brace has been read, adds them to
// the shape and checks those that the API documents. It nests as deep as the
// value, which open bounds.
func (d *Decoder) members(w *draft, p place, path uint64) error {
	for {
		before := d.in.at()
		quoted, err := d.in.quotedName()
		if quoted == nil {
			return err
		}
		name := d.in.text(quoted)
		f, member := fieldAt(p, name), pathHash(path, name)
		kind := d.in.json.PeekKind()
		if f == fullName && kind == 'n' && d.strict { // as serializers write what is absent
			if err := d.in.skip(); err != nil {
				return err
			}
			w.absentFrom, w.absentTo = before, d.in.at()
			continue
		}
		w.contact.Shape += member
		w.have |= 1 << f
		if kind == '{' {
			if err := d.in.open(); err != nil {
				return err
			}
			inner := elsewhere
			if f == cellPhone {
				inner = inCellPhone
			} else {
				d.check(w, f, kind, nil)
			}
			if err := d.members(w, inner, member); err != nil {
				return err
			}
			continue
		}
		value, err := d.in.scalar(kind)
		if err != nil {
			return err
		}
		d.check(w, f, kind, value)
	}
}

// check refuses a documented field of the wrong form; value is as it came.
func (d *Decoder) check(w *draft, f field, kind jsontext.Kind, value []byte) {
	switch {
	case f == id:
		d.contactID(w, kind, value)
		return
	case f == unknown || !d.strict:
		return
	case f == cellPhone:
		w.refuseField("contact.cellPhone is %s: want an object (before byte %d)", describe(kind), d.in.at())
		return
	case kind != '"':
		w.refuseField("%s is %s: want a string (before byte %d)", fieldPaths[f], describe(kind), d.in.at())
		return
	}
	switch f {
	case fullName, extension: // may be empty
	case phoneNumber:
		if !digits(d.in.text(value)) {
			w.refuseField("%s is not made of digits only (before byte %d)", fieldPaths[f], d.in.at())
		}
	case countryCode:
		text := d.in.text(value)
		if len(text) < 2 || len(text) > 4 || text[0] != '+' || !digits(text[1:]) {
			w.refuseField("%s is not + and one to three digits (before byte %d)", fieldPaths[f], d.in.at())
		}
	default:
		if len(value) == len(`""`) {
			w.refuseField("%s is empty (before byte %d)", fieldPaths[f], d.in.at())
		}
	}
}

func (d *Decoder) contactID(w *draft, kind jsontext.Kind, value []byte) {
	if kind != '"' {
		w.refuse("contact.id is %s: want a string (before byte %d)", describe(kind), d.in.at())
		return
	}
	text := d.in.text(value)
	if !contactsync.IsName(text) {
		w.refuse("contact.id does not match %s (before byte %d)", contactsync.NamePattern, d.in.at())
		return
	}
	w.contact.ID = string(text)
}

func digits(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(text) > 0
}
