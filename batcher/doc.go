// Package batcher decides which contacts go into which request, and when.
//
// Everything between fetch and outcome is in the Window, a plain value: pending
// contacts by stream (a lane each), the newest state of a contact merged over
// the older ones, the sets of rows that are tried apart, back-off, dead letters
// that Kafka has not acknowledged. It promises:
//
//   - a contact is never in two requests in flight (I3), and what arrives while
//     it is in one is merged and sent after it;
//   - an event ends only when a row that stands for it was delivered, a dead
//     letter that stands for it was acknowledged, or it was skipped and counted:
//     it is a delete or a tombstone, one of these came after it, or it is older
//     than what is known of its contact (I1, I2);
//   - of the lanes that may be sent, the one with the oldest event goes first;
//   - an answer that says nothing about a row keeps the row (I6).
//
// Batcher is the thin loop around it. Run owns the window and is the only
// goroutine that touches it; it starts one goroutine a request, at most
// max_in_flight for each account, and one that publishes dead letters, and waits
// for all of them before it returns. The loop knows nothing of HTTP or Kafka:
// Sender, Publisher and Acker are its neighbours.
package batcher
