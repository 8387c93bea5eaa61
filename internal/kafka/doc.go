// Package kafka is how the service talks to Kafka, and the only package that
// imports kafka-go. A Client connects to one cluster; it asks about topics and
// offsets, reads partitions, appends to them, makes a Producer for one topic and a
// Group for membership in a consumer group. It promises:
//
//   - every connection verifies the broker's certificate when TLS is on; there
//     is no switch to leave that out;
//   - certificates, keys and the password are read for each new connection, and
//     connections are renewed when one of them changes, so that a rotated secret
//     needs no restart; no request fails for that, and the group is not left;
//   - a connection is up within the dial time-out, TLS and SASL included, or it
//     is closed: kafka-go alone waits for ever on a broker that accepts and then
//     stays silent during SASL;
//   - records of aborted and of open transactions and control records are not
//     delivered, and no marker, hole or empty batch stops the reading;
//   - Read delivers what lies between two offsets, each record once and in order,
//     through moves of the leader and brokers that go and come; it says where the
//     log no longer reached back to the first one;
//   - what Append and Produce return no error for, every in-sync replica has;
//   - a generation of a Group is held until its owner gives it up, and heartbeats go
//     on until then; where it is lost, that is said;
//   - no topic is created.
//
// There is one answer each to whether a topic is there (topics.go), where
// a partition begins and ends (offsets.go), and how long a missing topic or an offset
// beyond the end may be doubted (retry.go). Errors that callers act on are listed in
// errors.go; all others may pass, and are worth another attempt.
//
// Goroutines, and what ends them:
//
//   - of kafka-go's Transport, one that refreshes the metadata and one for each
//     connection, and one of the client that renews them: Client.Close;
//   - of its Writer, one for each partition and one for each batch in flight:
//     Producer.Close, which waits for them;
//   - of a Group, those of package group: Group.Leave; what waits for an answer to it
//     on a connection then ends with Client.Close.
//
// A password is never part of an error or a log line; file names are.
//
// Reading is on the protocol level because kafka-go's Reader delivers the records of
// aborted transactions too, and keeps a queue that outlives a rebalance.
//
// kafka-go refreshes metadata by time only, not when a broker says that it no
// longer leads a partition. So the metadata's time to live is also how long a
// moved leader is looked for in the wrong place.
package kafka
