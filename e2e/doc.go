// Package e2e runs the built programs as separate processes against Apache
// Kafka, breaks things around them, and has one checker judge each run by what
// was produced, what the API saw, what was committed and what is in the
// dead-letter topic. Its tests want the build tag e2e, a JDK and Maven.
package e2e
