// Package deadletter writes the events that cannot be delivered to a Kafka topic,
// and reads them back.
//
// Writer promises that a dead letter counts as written only when every in-sync
// replica has acknowledged it (I5): Publish returns all others, and the caller keeps
// their offsets uncommitted and tries again. A dead letter may be in the topic more
// than once; copies have the same topic, partition and offset of their record.
// The topic is never created: that is for an operator to do.
//
// Read promises every dead letter that was in the topic when it was called, each once
// and in its newest copy, and a count of what else lies there. Putting them back is
// for package replay.
//
// A dead letter is the record with its own key, value and headers, plus headers
// whose names start with contactsync-. So any Kafka tool can read it and put it
// back. Its partition follows from its key as for Java's producers, so those
// of one key keep to one partition; a record without a key goes anywhere. The
// record's time is kept in a header: the message itself has the time at which it
// was written, so that the topic's retention counts from then.
//
// A record too large for the topic goes as an Envelope: its value is replaced by
// JSON with a hash, the size and the first bytes, and the header
// contactsync-truncated is true. The whole record is then only where it came from.
//
// The headers, each left out where nothing is known:
//
//	contactsync-form           of these headers: 1; always there
//	contactsync-version        the release of the service that wrote it
//	contactsync-reason         one word: a contactsync.Reason
//	contactsync-topic          where the record was read
//	contactsync-partition
//	contactsync-offset
//	contactsync-time           of the record, RFC 3339 in UTC
//	contactsync-positions      every event that the dead letter ends; see FormatPositions
//	contactsync-positions-left how many positions are left out for want of room
//	contactsync-stream         the streamId
//	contactsync-contact        the contact's id
//	contactsync-status         HTTP status of the last answer
//	contactsync-attempts       requests that carried the row
//	contactsync-first-failure  RFC 3339 in UTC
//	contactsync-last-failure
//	contactsync-detail         for a person, cut to a bound; nothing in it is copied from an answer
//	contactsync-answer         what the API wrote of it last, likewise cut; it may name people
//	contactsync-truncated      true: the value is an Envelope
//	contactsync-headers-left   how many of the record's headers are left out, because there are too many
//	contactsync-replays        not written here but kept: how often the record was replayed
//	contactsync-origin         likewise: the event's position when it was first read
//	contactsync-origin-time    likewise: its time there
//
// Read has no goroutine. A Writer has those of its kafka.Producer: one for each
// partition that it has written to, and one for each batch in flight. Close waits
// for them.
package deadletter
