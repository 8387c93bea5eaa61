// Package kafkaconn is how the service connects to Kafka: TLS, SASL, time-outs,
// a bound on decompression, and what must be asked of a cluster before it is
// relied on.
//
// A Conn makes the Dialer that kafka.ConsumerGroup takes and the Transport that
// all else goes through. It promises:
//
//   - every connection verifies the broker's certificate when TLS is on; there
//     is no switch to leave that out;
//   - certificates, keys and the password are read again for each new
//     connection, so that a rotated secret needs no restart;
//   - a connection is up within the dial time-out, TLS and SASL included, or it
//     is closed: kafka-go alone waits for ever on a broker that accepts and then
//     stays silent during SASL;
//   - no call of this package creates a topic. kafka.ConsumerGroup asks for its
//     topics with auto-creation allowed, so check that they exist before it joins.
//
// The goroutines are those of kafka.Transport: one that refreshes the metadata
// of each cluster address and one a connection. Close ends them all. A password
// is never part of an error or a log line; file names are.
//
// kafka-go refreshes metadata by time only, not when a broker says that it no
// longer leads a partition. So the metadata's time to live is also how long a
// moved leader is looked for in the wrong place.
package kafkaconn
