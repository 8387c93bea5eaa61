// Package broker runs a Kafka broker inside the process, on loopback, and asks
// any Kafka for what a check needs: committed offsets, ends of partitions, all
// records of a topic.
//
// The broker is kfake: it keeps everything in memory, speaks the protocol of a
// current Kafka with groups and transactions, and is no measure of a real one's
// speed. Close ends its goroutines. The functions that take addresses open a
// client, and close it before they return; they work on Apache Kafka as well.
package broker
