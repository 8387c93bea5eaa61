// Package feed makes contact-changed events and writes down what it made.
//
// The events are native ones, valid unless they are meant not to be, and decided
// by the seed alone: contact i belongs to stream i modulo Streams, the key
// "<stream>/<contact>" keeps a contact in one partition, and every event of a
// contact carries a higher "seq" in its contact object than the one before. The
// API's stub reads that number, so a lost, repeated or reordered state shows.
//
// The Manifest says of every event where it was put and what it is. It is the
// truth that the checker holds a run against.
//
// Produce writes to Kafka and returns when every event is acknowledged by all
// replicas. It owns its client and leaves no goroutine.
package feed
