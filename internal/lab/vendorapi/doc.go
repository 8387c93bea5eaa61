// Package vendorapi is a model of the vendor's "Update Bulk Contacts" API, written
// from the vendor's page and from nothing else. It shares no code, no types and no
// tables with the service or with package stub, so that a belief which those two have
// in common is not confirmed by this one.
//
// What the page says is checked: method, path, headers, the HS256 token with its appId,
// scopes, a bare array of contacts, the required members and their types. What the page
// does not say is a choice: Unknowns has a field for each such question, whose zero
// value is the plainest reading, and Variants names the other plausible answers.
//
// Contacts are kept: a row changes its contact only when it is applied, and everything
// that was applied stays in the log in that order, beside every request with what the
// client did wrong in it (Complaint). Rules break requests: by contact, text, stream,
// share or time.
//
// An API is safe for concurrent use. A request is worked on to its end although its
// client has gone, as servers do. It starts no goroutine; Close ends all waiting.
package vendorapi
