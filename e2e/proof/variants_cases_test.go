//go:build proof

package proof

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

// variantCase is a variant of the API that was written from the vendor's page, and how
// the events must end there. Unless it says otherwise, each contact that the API knows
// ends in its last state, applied once, and each other one becomes a dead letter.
type variantCase struct {
	vendorapi.Variant

	letters contactsync.Reason                  // of the contacts that the API does not know; empty: rejected
	again   string                              // why the API applies some states again; empty: it does not
	number  func(contact int, seq int64) string // of a state; nil: each has its own
	fails   bool                                // requests with contact 7 get no usable answer: it is set aside as unanswered
	open    string                              // what the service does not do; then the case is played and shown, and proves nothing
}

// variantCases are the variants of the page, and faults of the API beside them.
func variantCases() []variantCase {
	const (
		hidden = "the answer does not say what was applied"
		never  = "nobody is set aside for a 404"
	)
	exceptions := map[string]variantCase{
		"silent-bad-row":     {letters: contactsync.ReasonUnresolved},
		"whole-400":          {letters: contactsync.ReasonBadRequest},
		"whole-412":          {letters: contactsync.ReasonBadRequest},
		"whole-422":          {letters: contactsync.ReasonBadRequest},
		"abort-at-bad-row":   {letters: contactsync.ReasonBadRequest, again: hidden},
		"unchanged-unlisted": {number: someUnchanged, again: hidden},
		"unique-phones":      {number: handedOn},
		"both-lists":         {again: hidden},
		"whole-404":          {open: never},
		"whole-500":          {letters: contactsync.ReasonUnanswered},
		"rows-504":           {again: hidden},
		"contact-403":        {fails: true},
		"contact-500":        {fails: true},
		"contact-reset":      {fails: true},
		"contact-hang":       {fails: true},
		"contact-cut":        {fails: true, again: hidden},
		"contact-unusable":   {fails: true, again: hidden},
	}
	var all []variantCase
	for _, v := range append(vendorapi.Variants(), variantFaults()...) {
		c := exceptions[v.Name]
		c.Variant, c.letters = v, cmp.Or(c.letters, contactsync.ReasonRejected)
		if v.Question == repeated {
			c.again = hidden
		}
		all = append(all, c)
	}
	return all
}

// isolates reports whether contacts must be set aside because requests with them get no
// usable answer. That takes evidence: their stream must go on meanwhile.
func (c *variantCase) isolates() bool { return c.fails || c.letters == contactsync.ReasonUnanswered }

// reason is that of the dead letter that must come of a contact, by its place among the
// contacts of the case; empty where none may.
func (c *variantCase) reason(n int, contact feed.Contact) contactsync.Reason {
	switch {
	case c.fails && n == failingContact:
		return contactsync.ReasonUnanswered
	case unknownContact(contact):
		return c.letters
	}
	return ""
}

// failingContact is the one that the faults of one contact are about.
const failingContact = 7

// someUnchanged repeats the number of every other contact, so that its state only counts as new.
func someUnchanged(contact int, seq int64) string {
	if contact%2 == 0 {
		seq = 1
	}
	return fmt.Sprintf("24%06d%04d", contact, seq)
}

// handedOn gives a contact the number that its successor has had, which comes after it in a request.
func handedOn(contact int, seq int64) string {
	if contact%2 == 0 && seq > 1 {
		return fmt.Sprintf("24%06d%04d", contact+1, seq-1)
	}
	return fmt.Sprintf("24%06d%04d", contact, seq)
}

const repeated = "a fault now and then" // after which the service cannot know what was applied

// variantFaults are faults by rule.
func variantFaults() []vendorapi.Variant {
	var all []vendorapi.Variant
	add := func(question, name string, rules ...vendorapi.Rule) {
		all = append(all, vendorapi.Variant{Name: name, Question: question, Set: func(c *vendorapi.Config) { c.Rules = rules }})
	}
	const contact = "6964af60????????00000007" // one of the first stream
	const once = "a fault of one contact"
	add(once, "contact-403", vendorapi.Rule{Contact: contact, Do: vendorapi.Forbid})
	add(once, "contact-500", vendorapi.Rule{Contact: contact, Do: vendorapi.Answer, Status: http.StatusInternalServerError})
	add(once, "contact-reset", vendorapi.Rule{Contact: contact, Do: vendorapi.Reset})
	add(once, "contact-hang", vendorapi.Rule{Contact: contact, Do: vendorapi.Hang})
	add(once, "contact-cut", vendorapi.Rule{Contact: contact, Do: vendorapi.Cut})
	add(once, "contact-unusable", vendorapi.Rule{Contact: contact, Do: vendorapi.Answer, Status: 200, Body: `{"totalReq`, Applied: true})

	const fraction = 0.25
	add(repeated, "some-reset-applied", vendorapi.Rule{Fraction: fraction, Do: vendorapi.Reset, Applied: true})
	add(repeated, "some-shut-applied", vendorapi.Rule{Fraction: fraction, Do: vendorapi.Shut, Applied: true})
	add(repeated, "some-cut", vendorapi.Rule{Fraction: fraction, Do: vendorapi.Cut})
	add(repeated, "some-hang-applied", vendorapi.Rule{Fraction: fraction / 2, Do: vendorapi.Hang, Applied: true})
	add(repeated, "some-applied-late", vendorapi.Rule{Fraction: fraction / 2, Do: vendorapi.Slow, Delay: variantTimeout + 300*time.Millisecond}) // after it was given up
	add(repeated, "some-unusable-200", vendorapi.Rule{Fraction: fraction, Do: vendorapi.Answer, Status: 200, Kind: "text/html", Body: "<html>", Applied: true})
	add(repeated, "some-502-applied", vendorapi.Rule{Fraction: fraction, Do: vendorapi.Answer, Status: http.StatusBadGateway, Kind: "text/html", Body: "<html>", Applied: true})
	const harmless = "a fault before anything is applied"
	add(harmless, "some-403", vendorapi.Rule{Fraction: fraction, Do: vendorapi.Forbid})
	add(harmless, "some-503", vendorapi.Rule{Fraction: fraction, Do: vendorapi.Answer, Status: http.StatusServiceUnavailable, Kind: "text/html", Body: "<html>"})
	add("answers that contradict themselves", "both-lists", vendorapi.Rule{Until: 3 * time.Second, Do: vendorapi.Both})
	add(harmless, "outage", vendorapi.Rule{Until: 3 * time.Second, Do: vendorapi.Answer, Status: http.StatusServiceUnavailable})
	add(harmless, "slow", vendorapi.Rule{Do: vendorapi.Slow, Delay: 300 * time.Millisecond})

	all = append(all,
		vendorapi.Variant{Name: "jti-enforced", Question: "the token", Set: func(c *vendorapi.Config) { c.EnforceJTI = true }},
		vendorapi.Variant{Name: "clock-ahead", Question: "the token", Set: func(c *vendorapi.Config) { c.Ahead = time.Minute }},
		vendorapi.Variant{Name: "clock-behind", Question: "the token", Set: func(c *vendorapi.Config) { c.Ahead = -20 * time.Second }},
		vendorapi.Variant{Name: "short-tokens", Question: "the token", Set: func(c *vendorapi.Config) { c.MaxTokenLife = 5 * time.Minute }},
	)
	return all
}
