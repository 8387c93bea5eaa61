// Package progress knows which events of a partition have ended. It promises:
//
//   - the offset to commit is the first open position, so a commit never passes an
//     event that has not ended (I2);
//   - what ended beyond that offset is written into the few bytes that Kafka keeps with
//     a commit, so that the next owner does not send it again (I10);
//   - what does not fit is left out and counted as open: the next owner may know less
//     than was done, never more.
//
// The values have no goroutine and no clock. A Tracker is safe for concurrent use.
package progress
