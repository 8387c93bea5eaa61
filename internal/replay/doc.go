// Package replay gives dead letters another try without ever putting an older
// state of a contact over a newer one. It promises:
//
//   - a letter is replayed only after the source topics were read from where its
//     event first stood up to a moment before, and held nothing newer of its contact.
//     What arrives in between is for the service to see: the record that is written
//     back says up to which offset was looked (event.HeaderChecked);
//   - of several letters of one contact only the newest is replayed, and of equally
//     old ones in two partitions just one;
//   - a run may be killed at any point and started again with the same selection.
//     Written back to its topic, a letter is found there by event.HeaderReplayOf;
//     sent to the API, it is in the progress file;
//   - every letter that is handed in ends with an Outcome, which says why where it
//     was not replayed.
//
// Its bounds: one run at a time. A run that is killed while a request is on its way
// may write the same state twice, which the order survives. Events of one contact in
// two partitions are compared by version or occurredAt, and by their records' times
// where they have neither; every partition is read from the time of the oldest
// chosen event on, or from the oldest chosen event in it where that lies before.
//
// Nothing is committed and the consumer group is not joined, so the service may run
// meanwhile. The package has no goroutine. A Replayer is for one run and belongs to
// one goroutine. It holds the chosen letters in memory, with their values.
package replay
