// Package event turns a Kafka record into a typed event, or into a typed reason
// why it is none, and composes the states of one contact.
//
// It promises:
//
//   - Decode never panics and never fails: every record becomes an update, a
//     delete, a tombstone, or a broken event whose Err is what is wrong and
//     where. It never repeats what a contact holds (I11).
//   - An event that is not broken is strictly well-formed: one JSON object in
//     UTF-8, no member twice at any level however it is escaped, no deeper and no
//     larger than configured. So a contact's body can be put into a request next
//     to others as it came (I5).
//   - Names that become part of a request (streamId, accountId, the contact's id)
//     match an allow-list (I12).
//   - A record that is not well-formed is undecodable, whatever else is wrong with
//     it; a well-formed one that lacks something is invalid.
//   - The time and memory for a record are bounded by its configured size.
//
// The package has no goroutine. A Decoder belongs to one goroutine; the functions
// may be called from any. It does not know accounts, streams that exist, or
// versions already seen, and it writes no metric.
package event
