// Package batcher decides which contacts go into which request, and when.
//
// Everything between fetch and outcome is in the Window, a plain value that holds
// the parts, each with its own rules:
//
//   - pending: the contacts that have not ended, newer states merged over older ones;
//   - schedule: which stream sends next, and when;
//   - policy: what each kind of answer leads to, as one table;
//   - strangers: which streams were accepted, and what that means for the others;
//   - health, recovery: holds, back-off, the dead-letter budget and the size of requests; what of it ends with an outage;
//   - retry, search, suspicion: sets of rows that are sent apart from the others of their stream;
//   - held, shed, parked: what counts as on hold, and what of it is read again later for want of room;
//   - catchup, claims: partitions that are still being read, and the ones owned;
//   - outbox: dead letters that Kafka has not acknowledged, and events that have ended;
//   - seen: the newest accepted states, so that nothing older follows them;
//   - snapshot and eventlog: what gauges, /status and the log show.
//
// It promises:
//
//   - a contact is never in two requests in flight (I3), and what arrives while
//     it is in one is merged and sent after it;
//   - an event ends only when a row with its state was delivered, a dead letter
//     with its position was acknowledged, or it was skipped and counted: it is a
//     delete or a tombstone, one of these came after it, or it is older than what
//     is known of its contact (I1, I2);
//   - of the streams that may be sent, the one with the oldest event goes first, and
//     those that were refused take at most a quarter of the calls from the others;
//   - an answer that says nothing about a row keeps the row (I6).
//
// Batcher is the thin loop around it. Run owns the window and is the only
// goroutine that touches it; it starts one goroutine a request, at most
// as many as the budget needs for each account, and one that publishes dead letters, and waits
// for all of them before it returns. The loop knows nothing of HTTP or Kafka:
// Sender, Publisher and Acker are its neighbours.
package batcher
