// Package feed generates contact-changed events and records what it produced.
//
// The events are native ones, valid unless they are broken on purpose, and depend on
// the seed alone: contact i belongs to stream i modulo Streams, the key
// "<stream>/<contact>" keeps a contact in one partition, and every event of a contact
// carries a higher "seq" in its contact object than the one before. The API's stub
// reads that number, so that lost, repeated and reordered states show.
//
// The Manifest has every event with its position and its class. It is the truth that
// the checker compares a run with.
//
// Produce writes to Kafka and returns when every event is acknowledged by all
// replicas. It owns its client and leaves no goroutine.
package feed
