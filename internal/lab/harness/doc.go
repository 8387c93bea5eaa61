// Package harness runs the whole service in one process, wired as in production:
// on an embedded broker, against stubs of the API, fed with events that are
// written down, so that package check can judge the run. The demo, the proofs and
// the tests of package app stand on it; the tests against Apache Kafka use its Run
// with processes of their own.
//
// A Lab owns the broker, the stubs, the replicas and a directory for secrets.
// Close ends them all.
package harness
