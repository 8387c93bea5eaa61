// Package consumer reads contact-changed events from Kafka and commits their
// offsets, as a member of a consumer group. It promises:
//
//   - what it commits never passes an event that has not ended (I2): a ledger for
//     each owned partition knows the open positions, and only the first open one,
//     or the read position where none is open, is committed;
//   - a ledger lives and dies with its generation: an answer that comes after a
//     partition was lost moves nothing;
//   - records of aborted transactions and control records are not delivered, and
//     no marker, hole or empty batch stops the reading;
//   - a committed offset that no longer exists is counted and handled by policy,
//     never passed over in silence;
//   - heartbeats go on while the sink blocks.
//
// The group protocol is kafka-go's ConsumerGroup; fetching is on the protocol
// level, by package kafka, because kafka-go's Reader keeps a queue that outlives a
// rebalance and does not tell aborted records from others.
//
// Run owns everything: for each generation one goroutine that kafka-go's group
// waits for, and under it one goroutine for each owned partition, one that
// commits and one that looks for new partitions. They end with the generation;
// Run waits for all of them.
package consumer
