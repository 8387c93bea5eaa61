// Package app wires the parts into the running service: Kafka to consumer to
// batcher to API, and the outcome back to the commit. It is used by the
// contactsync command and by everything that runs the service in process.
//
// Run is the whole life: start, wait, stop in order. Every goroutine of the
// service is started under it, and none outlives it.
package app
