package contactsync_test

import (
	"fmt"

	"github.com/contactsync/contactsync"
)

// A position is printed and parsed in one form: in logs, in headers of dead
// letters, and as an argument of contactsync dlq.
func ExampleParsePosition() {
	p, err := contactsync.ParsePosition("contacts/3@70")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Topic, p.Partition, p.Offset)
	fmt.Println(p)

	_, err = contactsync.ParsePosition("contacts@70")
	fmt.Println(err)
	// Output:
	// contacts 3 70
	// contacts/3@70
	// read position: a part is missing: want topic/partition@offset
}

// A partition that comes back after a rebalance is another claim, and the same
// partition.
func ExampleClaim() {
	p := contactsync.TopicPartition{Topic: "contacts", Partition: 3}
	before := contactsync.Claim{TopicPartition: p, Generation: 7}
	after := contactsync.Claim{TopicPartition: p, Generation: 9}
	fmt.Println(before == after, before.TopicPartition == after.TopicPartition)
	// Output: false true
}

func ExampleKinds() {
	for _, kind := range contactsync.Kinds() {
		fmt.Println(kind)
	}
	// Output:
	// unknown
	// answered
	// unavailable
	// throttled
	// unauthorized
	// too_large
	// bad_request
	// stream_gone
	// canceled
}
