// Package admin serves the pages for operators and Kubernetes: /metrics, /livez,
// /readyz, /status and /debug/pprof. By POST to /set-aside, /feed/resume,
// /hold/release and /hold/set-aside, from the machine itself only, an operator decides about
// what cannot be read and about streams on hold.
//
// /livez fails only if a restart would help: a loop has stopped, or there is work
// that nothing would ever start. An outage of the API or of Kafka is not such a
// reason. /readyz fails before the first assignment, where no partition has been
// read for a while or all are halted, and as soon as a stop is requested. /status shows in JSON what is pending, what is
// on hold and why. No page contains a secret or a contact value.
//
// Serve owns the server's goroutines and waits for them.
package admin
