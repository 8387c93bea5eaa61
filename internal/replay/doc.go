// Package replay writes dead letters back to the topics that they came from, without
// ever putting an older state of a contact over a newer one. It promises:
//
//   - A dead letter is replayed only after the source topics have been read from where
//     its event was first read to their end, and held nothing newer of its contact.
//     What arrives after that is for the service to detect: the record that is written
//     back carries the offset up to which the log was searched (event.HeaderChecked).
//   - Of several dead letters of one contact only the newest is replayed, and of equally
//     old ones in two partitions only one.
//   - A run may be killed at any point and started again with the same selection: what
//     was written back is found in the log by event.HeaderReplayOf.
//   - Every dead letter ends with an Outcome, which has the reason where it was not replayed.
//
// Its bounds: one run at a time. A run that is killed during a write may write the same
// state twice, which does not harm the order. Events of one contact in two partitions are
// compared by version or occurredAt, and by their records' times where they have neither.
// Every partition is read from the time of the oldest chosen event on, or from the oldest
// chosen event in it if that is earlier.
//
// Nothing is committed and the consumer group is not joined, so the service may run
// meanwhile. The package has no goroutine. A Replayer is for one run and belongs to
// one goroutine. It holds the chosen dead letters in memory, with their values.
package replay
