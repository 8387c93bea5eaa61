// Package harness runs the whole service in one process, wired as in production: on
// an embedded broker and against models of the API. It records every event that it
// produces, so that package check can judge the run. The demo, the proofs and the
// tests of package app use a Lab; the tests against Apache Kafka use its Run with
// service processes.
//
// A Lab owns the broker, the APIs, the replicas and a directory for secrets. Close
// ends them all.
package harness
