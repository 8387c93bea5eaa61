// Package app wires the parts into the running service: events from Kafka through
// consumer and batcher to the API, and their results back to the commit. The
// contactsync command uses it, and so does everything that runs the service in process.
//
// Run is the whole life: start, wait, stop in order. It starts every goroutine of the
// service and waits for them.
package app
