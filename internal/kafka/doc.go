// Package kafka is how the service talks to Kafka, and the only package that
// imports kafka-go: connections with TLS, SASL, time-outs and a bound on
// decompression; what must be asked of a cluster before it is relied on; reading
// partitions and appending to them on the protocol level. It promises:
//
//   - every connection verifies the broker's certificate when TLS is on; there
//     is no switch to leave that out;
//   - certificates, keys and the password are read again for each new
//     connection, so that a rotated secret needs no restart;
//   - a connection is up within the dial time-out, TLS and SASL included, or it
//     is closed: kafka-go alone waits for ever on a broker that accepts and then
//     stays silent during SASL;
//   - records of aborted and of open transactions and control records are not
//     delivered, and no marker, hole or empty batch stops the reading;
//   - Read delivers what lies between two offsets, each record once and in order,
//     through moves of the leader and brokers that go and come; it says where the
//     log no longer reached back to the first one;
//   - what Append returned no error for, every in-sync replica has;
//   - no call of this package creates a topic. kafka-go's ConsumerGroup asks for its
//     topics with auto-creation allowed, so check that they exist before it joins.
//
// Reading is on the protocol level because kafka-go's Reader does not tell aborted
// records from others.
//
// The goroutines are those of kafka-go's Transport: one that refreshes the metadata
// of each cluster address and one a connection. Close ends them all. A password
// is never part of an error or a log line; file names are.
//
// kafka-go refreshes metadata by time only, not when a broker says that it no
// longer leads a partition. So the metadata's time to live is also how long a
// moved leader is looked for in the wrong place.
package kafka
