// Package batch reads the record batches of a partition, as brokers send them. It
// promises:
//
//   - nothing that the bytes say is believed before it is checked: a batch that lies
//     is an error with its offsets, never a panic, and never takes more memory than
//     the limit;
//   - a batch is all or nothing: its checksum is verified before any of its records is
//     delivered;
//   - what is delivered is a copy, so a small record does not keep a large batch.
//
// It has no goroutine. The format is that of Kafka's protocol guide (record batch,
// magic 2); the codecs are those that its clients write.
package batch
