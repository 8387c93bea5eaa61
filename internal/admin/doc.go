// Package admin serves the pages for operators and Kubernetes: the status page at /, which follows /api/events,
// /metrics, /livez, /readyz, /status (/api/status is the same), /api/explain, /api/answers and, where the settings ask for it, /debug/pprof. By POST to /set-aside,
// /feed/resume, /hold/release and /hold/set-aside, from the machine itself only, an operator
// decides about what cannot be read and about streams on hold.
//
// /livez fails only if a restart would help: a loop has stopped, or there is work
// that nothing would ever start. An outage of the API or of Kafka is not such a
// reason. /readyz fails before the first assignment, where no partition has been
// read for a while or all are halted, and as soon as a stop is requested. /status shows in JSON what is pending, what is
// on hold and why. No page contains a secret. What the API wrote, which may name people, and what is known
// of single contacts are for the machine itself, and for users whom the web configuration lets in.
//
// TLS and users are those of Prometheus' exporters. They cover every page; the probes alone
// can have a second listener without them. Whatever clients do, connections, goroutines and
// the time of each request are bounded, and those that are idle keep nobody out.
//
// Serve owns the server's goroutines and waits for them.
package admin
