package event

import "github.com/contactsync/contactsync"

// maxKnown bounds the names that a Decoder remembers of each sort: at most
// 16384 × 64 B = 1 MiB.
const maxKnown = 16384

// names checks the ids of streams or accounts, which become part of a URL and a
// header, and returns the same string for the same name, so that an event whose
// stream was seen before allocates none for it.
type names map[string]string

func (n names) get(text []byte) (name string, ok bool) {
	if name, ok = n[string(text)]; ok {
		return name, true
	}
	if !contactsync.IsName(text) {
		return "", false
	}
	// Starting over costs one allocation a name, and needs no order of use.
	if len(n) >= maxKnown {
		clear(n)
	}
	name = string(text)
	n[name] = name
	return name, true
}
