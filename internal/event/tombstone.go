package event

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/contactsync/contactsync"
)

// mostKeyLevels bounds the objects and quotes around the id in a tombstone's key.
const mostKeyLevels = 8

// tombstoneKey reads the contact that a tombstone's key names: as
// "<streamId>/<contactId>", "<streamId>:<contactId>" or a contact's id alone, in which
// case stream is empty; or one of these, or the members streamId and id, in JSON as
// connectors write keys. Both results are empty where the key is none of these, or a name
// has characters outside A-Z, a-z, 0-9, _ and -, or more than 64.
func (d *Decoder) tombstoneKey(key []byte, level int) (stream, id string) {
	key = bytes.TrimLeft(key, " \t\r\n")
	switch {
	case len(key) == 0 || level > mostKeyLevels:
		return "", ""
	case key[0] == '"':
		text, err := jsontext.AppendUnquote(nil, bytes.TrimRight(key, " \t\r\n"))
		if err != nil {
			return "", ""
		}
		return d.tombstoneKey(text, level+1)
	case key[0] == '{':
		return d.keyObject(key, level)
	}
	if at := bytes.IndexAny(key, "/:"); at >= 0 {
		if !contactsync.IsName(key[:at]) || !contactsync.IsName(key[at+1:]) {
			return "", ""
		}
		stream, _ = d.streams.get(key[:at])
		return stream, string(key[at+1:])
	}
	if !contactsync.IsName(key) {
		return "", ""
	}
	return "", string(key)
}

// keyObject reads a key that is an object: with the members streamId and id (MongoDB's
// connectors write _id, and $oid inside), or as payload beside its schema.
func (d *Decoder) keyObject(key []byte, level int) (stream, id string) {
	d.in.reset(key)
	if d.in.open() != nil {
		return "", ""
	}
	var streamID, contactID, payload []byte
	for {
		quoted, err := d.in.quotedName()
		if err != nil {
			return "", ""
		}
		if quoted == nil {
			break
		}
		var member *[]byte
		switch string(d.in.text(quoted)) {
		case "streamId":
			member = &streamID
		case "id":
			member = &contactID
		case "_id", "$oid":
			if contactID == nil {
				member = &contactID
			}
		case "payload":
			member = &payload
		}
		kind, start := d.in.json.PeekKind(), d.in.at()
		if d.in.skip() != nil {
			return "", ""
		}
		if member == nil || kind == 'n' {
			continue
		}
		if kind != '"' && kind != '{' {
			return "", ""
		}
		*member = bytes.TrimLeft(key[start:d.in.at()], " \t\r\n:")
	}
	if d.in.end() != nil {
		return "", ""
	}
	if payload != nil {
		return d.tombstoneKey(payload, level+1)
	}
	stream, id = d.tombstoneKey(contactID, level+1)
	if streamID == nil || id == "" {
		return stream, id
	}
	if none, name := d.tombstoneKey(streamID, level+1); none == "" && name != "" && stream == "" {
		return name, id
	}
	return "", ""
}
