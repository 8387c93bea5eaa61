// Package metrics declares every series of the service, once.
//
// New registers them on the registry that it is given and touches each label
// value that is known beforehand, so that the first failure of a kind is seen by
// rate(). Labels are bounded: no stream, contact or error text is ever one. The
// package starts no goroutine; a Set may be used by all.
package metrics
