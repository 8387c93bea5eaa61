// Package alerts has each alert of the chart fired by its fault: a real Prometheus scrapes
// the real service, with durations scaled down, and no alert may fire that does not belong
// to the fault. make alerts runs it, with Debian's prometheus. Its tests have the build tag
// alerts.
package alerts
