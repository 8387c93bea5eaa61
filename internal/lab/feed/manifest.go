package feed

import (
	"bufio"
	"encoding/gob"
	"fmt"
	"io"
	"os"

	"github.com/contactsync/contactsync"
)

// Contact names a contact.
type Contact struct{ Stream, ID string }

// Record is an event that was produced.
type Record struct {
	Offset    int64
	Seq       int64
	Time      int64 // of the record in Kafka, Unix nanoseconds; it has milliseconds
	Partition int32
	Topic     int32 // index into Manifest.Topics
	Contact   int32 // index into Manifest.Contacts
	Class     Class
}

// Manifest is the truth about a run: every event, in the order of producing. For one
// contact and partition that is the order of the offsets, too.
type Manifest struct {
	Topics   []string
	Contacts []Contact
	Records  []Record
}

// Position is where one of the records is in Kafka.
func (m *Manifest) Position(r *Record) contactsync.Position {
	return contactsync.Position{
		TopicPartition: contactsync.TopicPartition{Topic: m.Topics[r.Topic], Partition: r.Partition}, Offset: r.Offset,
	}
}

// Sum counts what a manifest holds.
type Sum struct {
	Events   int
	Classes  map[Class]int
	Contacts map[string]int // by stream: contacts with an update
}

// Sum counts the events and contacts.
func (m *Manifest) Sum() Sum {
	s := Sum{Events: len(m.Records), Classes: map[Class]int{}, Contacts: map[string]int{}}
	counted := make([]bool, len(m.Contacts))
	var classes [classCount]int
	for _, r := range m.Records {
		classes[r.Class]++
		if r.Class == Update && !counted[r.Contact] {
			counted[r.Contact] = true
			s.Contacts[m.Contacts[r.Contact].Stream]++
		}
	}
	for c, n := range classes {
		if n > 0 {
			s.Classes[Class(c)] = n
		}
	}
	return s
}

// Distinct is the number of contacts with an update, in all streams.
func (s Sum) Distinct() int {
	n := 0
	for _, c := range s.Contacts {
		n += c
	}
	return n
}

// Floor is the fewest calls that can deliver every contact's newest state with
// at most maxRows rows a call, because a call carries one stream only.
func (s Sum) Floor(maxRows int) int {
	calls := 0
	for _, n := range s.Contacts {
		calls += (n + maxRows - 1) / maxRows
	}
	return calls
}

// LastSeq returns, by contact, the seq of its last update; 0 where it has none.
func (m *Manifest) LastSeq() []int64 {
	last := make([]int64, len(m.Contacts))
	for _, r := range m.Records {
		if r.Class == Update {
			last[r.Contact] = max(last[r.Contact], r.Seq)
		}
	}
	return last
}

// Append adds a later run, which may have the same contacts and topics.
func (m *Manifest) Append(later *Manifest) {
	topics := index(&m.Topics, later.Topics)
	contacts := index(&m.Contacts, later.Contacts)
	for _, r := range later.Records {
		r.Topic, r.Contact = topics[r.Topic], contacts[r.Contact]
		m.Records = append(m.Records, r)
	}
}

// index adds those of more that all lacks, and returns the index in all of each of more.
func index[T comparable](all *[]T, more []T) []int32 {
	at := make(map[T]int32, len(*all)+len(more))
	for i, v := range *all {
		at[v] = int32(i)
	}
	where := make([]int32, len(more))
	for i, v := range more {
		n, ok := at[v]
		if !ok {
			n = int32(len(*all))
			at[v] = n
			*all = append(*all, v)
		}
		where[i] = n
	}
	return where
}

// columns is a manifest as it is written: gob is fast with slices of numbers and slow
// with slices of structs.
type columns struct {
	Topics, Streams, IDs      []string
	Offset, Seq, Time         []int64
	Partition, Topic, Contact []int32
	Class                     []byte
}

// Write writes the manifest for Read.
func (m *Manifest) Write(w io.Writer) error {
	c := columns{Topics: m.Topics}
	for _, k := range m.Contacts {
		c.Streams, c.IDs = append(c.Streams, k.Stream), append(c.IDs, k.ID)
	}
	for _, r := range m.Records {
		c.Offset, c.Seq, c.Time = append(c.Offset, r.Offset), append(c.Seq, r.Seq), append(c.Time, r.Time)
		c.Partition, c.Topic = append(c.Partition, r.Partition), append(c.Topic, r.Topic)
		c.Contact, c.Class = append(c.Contact, r.Contact), append(c.Class, byte(r.Class))
	}
	if err := gob.NewEncoder(w).Encode(c); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// Read reads what Write wrote.
func Read(r io.Reader) (*Manifest, error) {
	var c columns
	if err := gob.NewDecoder(r).Decode(&c); err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	n := len(c.Offset)
	for _, l := range []int{len(c.Seq), len(c.Time), len(c.Partition), len(c.Topic), len(c.Contact), len(c.Class)} {
		if l != n || len(c.Streams) != len(c.IDs) {
			return nil, fmt.Errorf("read the manifest: its columns differ in length: the file is damaged")
		}
	}
	m := &Manifest{Topics: c.Topics, Contacts: make([]Contact, len(c.IDs)), Records: make([]Record, n)}
	for i := range m.Contacts {
		m.Contacts[i] = Contact{c.Streams[i], c.IDs[i]}
	}
	for i := range m.Records {
		m.Records[i] = Record{c.Offset[i], c.Seq[i], c.Time[i], c.Partition[i], c.Topic[i], c.Contact[i], Class(c.Class[i])}
	}
	for _, r := range m.Records {
		if int(r.Topic) >= len(m.Topics) || int(r.Contact) >= len(m.Contacts) || r.Topic < 0 || r.Contact < 0 || r.Class >= classCount {
			return nil, fmt.Errorf("read the manifest: a record refers to something that is missing: the file is damaged")
		}
	}
	return m, nil
}

// WriteFile writes the manifest to a file.
func (m *Manifest) WriteFile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = m.Write(w)
	if err == nil {
		err = w.Flush()
	}
	if closeErr := f.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("write the manifest: %w", closeErr)
	}
	return err
}

// ReadFile reads a manifest from a file.
func ReadFile(path string) (*Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	return Read(bufio.NewReaderSize(f, 1<<20))
}
