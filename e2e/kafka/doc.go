// Package kafka runs Apache Kafka itself, without containers, for tests and for
// people: one or three KRaft nodes as processes of this machine, on loopback
// ports, with their data in a directory that goes away with them.
//
// It needs Java 17 and, for the first run, Maven, which brings Kafka's jars into
// a cache directory that all runs share. A node listens in plain text without
// authentication: it is for loopback only.
//
// A Cluster owns its processes and one goroutine for each of them, which starts
// the process and waits for its end. Stop ends all of them. On Linux a node also
// dies with the program that started it, however that ends.
//
// Where the environment names brokers (KAFKA_BROKERS), nothing is started: the
// cluster is those brokers, and what needs a process of its own returns
// ErrNotOwned.
package kafka
