// Package admin serves what operators and Kubernetes ask the service for:
// /metrics, /livez, /readyz, /status and /debug/pprof.
//
// /livez fails only where a restart would help: a loop that does not turn, or
// work that nothing would ever take up. An API or a Kafka that is away is not
// such a reason. /readyz fails before the first assignment, while a partition is
// halted, and from the moment a stop was asked for. /status says in JSON what is
// pending, what is on hold and why. Nothing secret is served.
//
// Serve owns the server's goroutines and waits for them.
package admin
