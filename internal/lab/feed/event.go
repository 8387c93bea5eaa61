package feed

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
)

// Class is what an event is meant to be, and so how it must end.
type Class uint8

// The classes of events.
const (
	Update      Class = iota // a valid state: delivered, or superseded by a newer one
	Undecodable              // not strict JSON: a dead letter
	Invalid                  // JSON without a required field: a dead letter
	Tombstone                // no value: skipped
	Delete                   // deletes the contact: skipped
	Rejected                 // a valid state of a contact that the API refuses: a dead letter
	Aborted                  // of an aborted transaction: never seen
	classCount
)

var classNames = [classCount]string{"update", "undecodable", "invalid", "tombstone", "delete", "rejected", "aborted"}

// String names the class.
func (c Class) String() string {
	if c < classCount {
		return classNames[c]
	}
	return "class " + strconv.Itoa(int(c))
}

// Event is one event before it is produced. Its slices are its own.
type Event struct {
	Key, Value []byte
	Contact    int // index, see StreamName and ContactID
	Seq        int64
	Class      Class
}

// StreamName is the name of the n-th stream.
func StreamName(n int) string { return fmt.Sprintf("st-%04d", n) }

// contactID is the id of the n-th contact, in the vendor's form of 24 hex digits.
func contactID(n int, rejected bool) string {
	start := "6964af60"
	if rejected {
		start = "bad0af60"
	}
	return fmt.Sprintf("%s%016x", start, mix(uint64(n)))
}

// Generator generates events. It is not safe for concurrent use.
type Generator struct {
	cfg      Config
	rng      *rand.Rand
	zipf     *rand.Zipf
	contacts []Contact
	seqs     []int32 // the last one of each contact
	made     int
	slab     []byte
}

// NewGenerator returns a generator of cfg.Events events.
func NewGenerator(cfg Config) (*Generator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	g := &Generator{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0)), seqs: make([]int32, cfg.Contacts)}
	streams := make([]string, cfg.Streams)
	for i := range streams {
		streams[i] = StreamName(i)
	}
	g.contacts = make([]Contact, cfg.Contacts)
	for i := range g.contacts {
		g.contacts[i] = Contact{streams[i%cfg.Streams], contactID(i, g.rejects(i))}
	}
	if cfg.Skew > 0 {
		g.zipf = rand.NewZipf(g.rng, cfg.Skew, 1, uint64(cfg.Contacts-1))
	}
	return g, nil
}

// Contact returns the names of the n-th contact.
func (g *Generator) Contact(n int) Contact { return g.contacts[n] }

func (g *Generator) rejects(n int) bool { return share(1, uint64(n)) < g.cfg.RejectShare }

// Next returns the next event, and false after the last.
func (g *Generator) Next() (Event, bool) {
	if g.made == g.cfg.Events {
		return Event{}, false
	}
	n := g.made
	g.made++
	ev := Event{Contact: g.pick(n)}
	g.seqs[ev.Contact]++
	ev.Seq = g.cfg.SeqBase + int64(g.seqs[ev.Contact])
	ev.Class = g.class(n, ev.Contact)
	contact := g.contacts[ev.Contact]
	g.reserve(1 << 10)
	start := len(g.slab)
	g.slab = append(g.slab, contact.Stream...)
	if !g.cfg.KeyByStream {
		g.slab = append(append(g.slab, '/'), contact.ID...)
	}
	ev.Key = g.cut(start)
	start = len(g.slab)
	switch ev.Class {
	case Tombstone:
		return ev, true
	case Delete:
		g.slab = append(g.slab, `{"op":"delete",`...)
		g.slab = appendNames(g.slab, contact)
		g.slab = append(g.slab, `"}}`...)
	case Undecodable:
		g.slab = appendUndecodable(g.slab, contact, ev, n)
	case Invalid:
		g.slab = appendInvalid(g.slab, contact, ev, n)
	case Update, Rejected, Aborted:
		g.slab = appendUpdate(g.slab, contact, ev)
	}
	ev.Value = g.cut(start)
	return ev, true
}

func (g *Generator) pick(n int) int {
	switch {
	case g.cfg.InTurn:
		return n % g.cfg.Contacts
	case g.zipf != nil:
		return int(g.zipf.Uint64())
	}
	return g.rng.IntN(g.cfg.Contacts)
}

// class depends on the event's number and the contact only, so that a change of one
// share does not change the other events.
func (g *Generator) class(n, contact int) Class {
	if g.cfg.Transactional && g.aborts(n/g.cfg.TxnEvents) {
		return Aborted
	}
	p := share(g.cfg.Seed^2, uint64(n))
	switch c := g.cfg; {
	case p < c.PoisonShare/2:
		return Undecodable
	case p < c.PoisonShare:
		return Invalid
	case p < c.PoisonShare+c.TombstoneShare:
		return Tombstone
	case p < c.PoisonShare+c.TombstoneShare+c.DeleteShare:
		return Delete
	case g.rejects(contact):
		return Rejected
	}
	return Update
}

func (g *Generator) aborts(txn int) bool { return share(g.cfg.Seed^3, uint64(txn)) < g.cfg.AbortShare }

// reserve makes room in the slab that keys and values are cut from: thousands of
// events share an allocation.
func (g *Generator) reserve(n int) {
	if cap(g.slab)-len(g.slab) < n {
		g.slab = make([]byte, 0, 1<<20)
	}
}

func (g *Generator) cut(start int) []byte { return g.slab[start:len(g.slab):len(g.slab)] }

var (
	firstNames = [...]string{"Maximiliane", "Konstantin", "Wilhelmina", "Bartholomew", "Anneliese", "Christopher", "Evangeline", "Theodora"}
	lastNames  = [...]string{"Oppenheimer", "Vandermeer", "Castellanos", "Fitzwilliam", "Mukherjee", "Papadopoulos", "Szczepanski", "Thorvaldsen"}
)

func appendNames(b []byte, c Contact) []byte {
	b = append(append(b, `"streamId":"`...), c.Stream...)
	return append(append(b, `","contact":{"id":"`...), c.ID...)
}

func appendUpdate(b []byte, c Contact, ev Event) []byte {
	first, last := firstNames[ev.Contact%8], lastNames[ev.Contact/8%8]
	b = append(b, '{')
	b = appendNames(b, c)
	b = append(append(b, `","firstName":"`...), first...)
	b = append(append(b, `","lastName":"`...), last...)
	b = append(append(b, `","fullName":"`...), first...)
	b = append(append(append(b, ' '), last...), `","salutation":"Mrs","cellPhone":{"extension":"+","phoneNumber":"24`...)
	b = appendPadded(b, int64(ev.Contact), 6) // of contact and seq, because the names of a contact never change
	b = appendPadded(b, ev.Seq, 4)
	b = append(b, `","countryCode":"+91"},"seq":`...)
	b = strconv.AppendInt(b, ev.Seq, 10)
	b = append(b, `,"externalRef":"crm/eu-west-1/contact/`...)
	b = appendPadded(b, int64(ev.Contact), 12)
	return append(b, `"}}`...)
}

func appendPadded(b []byte, n int64, width int) []byte {
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], n, 10)
	for range width - len(text) {
		b = append(b, '0')
	}
	return append(b, text...)
}

// appendUndecodable appends an event that is not strict JSON.
func appendUndecodable(b []byte, c Contact, ev Event, n int) []byte {
	start := len(b)
	switch n / 2 % 5 {
	case 0: // cut off
		b = appendUpdate(b, c, ev)
		return b[:start+(len(b)-start)/2]
	case 1: // a duplicate member
		b = appendUpdate(b, c, ev)
		return append(b[:len(b)-1], `,"streamId":"st-0000"}`...)
	case 2: // not UTF-8
		b = appendUpdate(b, c, ev)
		return append(b[:len(b)-1], ",\"note\":\"\xff\xfe\"}"...)
	case 3: // something after the value
		b = appendUpdate(b, c, ev)
		return append(b, `{}`...)
	}
	return append(b, `<contact/>`...)
}

// appendInvalid appends JSON that is invalid under any validation.
func appendInvalid(b []byte, c Contact, ev Event, n int) []byte {
	switch n / 2 % 4 {
	case 0:
		return append(append(append(b, `{"contact":{"id":"`...), c.ID...), `"}}`...)
	case 1:
		return append(append(append(b, `{"streamId":"`...), c.Stream...), `","contact":{"firstName":"x"}}`...)
	case 2:
		return append(append(append(b, `{"streamId":"`...), c.Stream...), `","contact":[]}`...)
	}
	b = appendUpdate(b, c, ev)
	return append(b[:len(b)-1], `,"op":"upsert"}`...)
}

// share maps n to [0, 1), evenly, and differently for each salt.
func share(salt, n uint64) float64 { return float64(mix(n^mix(salt))>>11) / math.Exp2(53) }

// mix scatters the bits of n (the finaliser of splitmix64).
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
