package group

import (
	"slices"

	"github.com/contactsync/contactsync"
)

// holding is the assignment that the owner has.
type holding struct {
	number    int32
	parts     []contactsync.TopicPartition
	ids       map[string]TopicID // of the own topics, as they were assigned
	suspect   map[string]bool    // topics that may have been recreated
	recreated map[string]bool    // topics that were
	unlooked  bool               // no broker told of the topics in time: ids are what they were before
	lost      bool
}

func newHolding(number int32, parts []contactsync.TopicPartition, topics map[string]Topic) *holding {
	h := &holding{number: number, parts: parts, ids: map[string]TopicID{}, suspect: map[string]bool{}, recreated: map[string]bool{}}
	for name, t := range topics {
		h.ids[name] = t.ID
	}
	return h
}

// suspects keeps commits back from topics that may be other ones now.
func (h *holding) suspects(found map[string]Topic) {
	for name, id := range h.ids {
		if found[name].recreates(Topic{ID: id}) {
			h.suspect[name] = true
		}
	}
}

// recreations returns the topics that are other ones now, each once.
func (h *holding) recreations(topics map[string]Topic) []Recreated {
	clear(h.suspect)
	var list []Recreated
	for name, id := range h.ids {
		if t := topics[name]; t.recreates(Topic{ID: id}) && !h.recreated[name] {
			h.recreated[name] = true
			list = append(list, Recreated{name, id, t.ID})
		}
	}
	return list
}

// admit sets the ids of an ask's topics, and takes out what must not be committed: it
// would go into another topic than it was read from.
func (h *holding) admit(a *ask) {
	for i := range a.offsets {
		a.offsets[i].TopicID = h.ids[a.offsets[i].Topic]
	}
	if a.kind != kindCommit {
		return
	}
	a.offsets = slices.DeleteFunc(a.offsets, func(o Offset) bool {
		if !h.suspect[o.Topic] && !h.recreated[o.Topic] {
			return false
		}
		o.Code = codeUnknownTopicID
		a.refused = append(a.refused, o)
		return true
	})
}
