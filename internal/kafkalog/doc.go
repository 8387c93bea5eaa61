// Package kafkalog works on one partition of a topic, on the protocol level and
// without a consumer group: it reads a stretch, and it appends. It promises:
//
//   - records of aborted and of open transactions and control records are not
//     delivered, and no marker, hole or empty batch stops the reading;
//   - Read delivers what lies between two offsets, each record once and in order,
//     through moves of the leader and brokers that go and come; it says where the
//     log no longer reached back to the first one;
//   - what Append returned no error for, every in-sync replica has.
//
// It commits nothing and creates nothing, so it may look at any topic while others
// work with it. It is on the protocol level because kafka-go's Reader does not
// tell aborted records from others. The package has no goroutine of its own.
package kafkalog
