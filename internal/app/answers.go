package app

import "github.com/contactsync/contactsync/upstream"

// Answer is what the API wrote, as whoever may read it gets it.
type Answer struct {
	upstream.Kept

	Text string `json:"text"` // the beginning of it
}

// answers lists the texts that are kept, without their words.
func (a *App) answers() any { return a.upstream.Kept() }

// answer returns one of them.
func (a *App) answer(hash string) (any, bool) {
	for _, kept := range a.upstream.Kept() {
		if kept.Hash == hash {
			return Answer{kept, kept.Text.Reveal()}, true
		}
	}
	return nil, false
}
