// Package consumertest is the contract of the consumer with Kafka, as a test
// suite that runs on any broker: on the embedded one with every test run, and on
// Apache Kafka end to end. It starts what it needs in the test and ends it there.
package consumertest
