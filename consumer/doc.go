// Package consumer reads contact-changed events from Kafka and commits their
// offsets, as a member of a consumer group. It promises:
//
//   - what it commits never passes an event that has not ended (I2): a tracker for
//     each owned partition knows the open positions, and only the first open one,
//     or the read position where none is open, is committed;
//   - a tracker lives and dies with its generation: an answer that comes after a
//     partition was lost moves nothing;
//   - a committed offset that no longer exists is counted and handled by policy,
//     never passed over in silence;
//   - a record batch that cannot be read halts its partition until an operator or
//     policy sets it aside: it ends as one dead letter that has its offsets;
//   - a partition most of whose events cannot be read halts before each of them is a dead
//     letter, and goes on when they can be read, or as an operator decides;
//   - a generation is given back as a whole, and only when nothing of it is in
//     flight any more.
//
// It says what an owner of partitions does. How membership works is behind Group,
// and reading a log is package kafka's.
//
// Run owns everything: for each generation one goroutine for each owned partition,
// one that commits, and one that keeps the lag true while the window is full. They
// end with the generation; Run waits for all of them.
package consumer
