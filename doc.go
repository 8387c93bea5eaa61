// Package contactsync holds the values that every part of the service shares:
// positions, records, batches, results and dead letters. The package has no goroutine
// and imports only the standard library.
//
// The service reads contact-changed events from Kafka, groups them by streamId,
// calls the "Update Bulk Contacts" API and commits an offset only after the
// answer for that event has been handled. It promises, and its tests refer to
// these numbers:
//
//   - I1 No loss. Every event ends delivered, superseded by a newer event of its
//     contact that was delivered, skipped for a counted reason (tombstone,
//     delete, stale), or in the dead-letter topic with a reason.
//   - I2 Commit behind. A committed offset never passes an event that has not
//     ended as in I1.
//   - I3 Order per contact. The API never receives an older state of a contact
//     after a newer one from the same partition, and a contact is never in two
//     requests in flight at once.
//   - I4 One owner. After a partition is lost no request with its rows is
//     started, and none is in flight when the new owner starts.
//   - I5 Poison is isolated. One bad row never stops or rejects its neighbours;
//     it reaches the dead-letter topic before its offset can be committed.
//   - I6 An outage is not poison. While the API is down, throttles or refuses our
//     credentials, nothing goes to the dead-letter topic because of it.
//   - I7 Budget. In any window of the account's length no more requests are
//     started than it allows.
//   - I8 Bounded. Memory stays under the configured window plus a fixed overhead.
//   - I9 Live. When an outage ends, the backlog drains without intervention.
//   - I10 Duplicates are bounded and counted: after a crash at most what was sent
//     and not yet committed; in steady state none.
//   - I11 Nothing secret is written: no token, secret or contact field in logs,
//     metrics, errors or the status page.
//   - I12 No cross-talk. A row is sent only to its own streamId with its own
//     account's credentials.
package contactsync
