// Package check compares a run of the service with the truth: what was produced
// (feed.Manifest), what the API's stub received and applied, what was committed,
// and what is in the dead-letter topic. It checks the service's invariants:
//
//	I1   every event has ended: the API applied its contact's state of that seq or
//	     a higher one, a dead letter lists it, a tombstone or delete came after it,
//	     or it is one of these itself
//	I2   every event below a committed offset has ended
//	I3   the seq applied to a contact never falls, and a contact is never in two
//	     calls at the same time
//	I5   every broken event is in the dead-letter topic, for a reason that fits
//	I6   no good event is there
//	I7   the API had to refuse no call for exceeding the rate limit
//	I10  the same state is applied again no more often than allowed
//	I12  no call named a stream of another account, and no stream got another's contact
//
// Besides, nothing reaches the API that must not: events of aborted transactions,
// broken ones, states that nobody produced. When the run is over, every contact
// is in its last state and everything is committed.
//
// The package starts no goroutine. Only what was recorded can be checked: calls
// that the client gave up are excused as far as the stub noticed it.
package check
