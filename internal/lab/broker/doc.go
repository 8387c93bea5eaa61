// Package broker runs a Kafka broker in the process, on loopback, and reads from any
// Kafka what a check needs: committed offsets, end offsets, all records of a topic.
//
// The broker is kfake: it keeps everything in memory, speaks the protocol of a
// current Kafka with groups and transactions, and says nothing about the speed of a
// real one. Close ends its goroutines. The functions that take addresses open a
// client and close it before they return; they work with Apache Kafka as well.
package broker
