package group

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// Member is one member of a consumer group. It decides what to send and what the
// owner of the partitions must know; it does neither, and has no clock, lock or
// goroutine. Whoever drives it calls Poll, sends the calls, hands in their answers,
// and calls Poll again after every method and at the time that Poll named.
// Not safe for concurrent use.
type Member struct {
	cfg  Config
	rand *rand.Rand

	phase    phase
	after    phase // what follows Released
	stopping bool

	id       identity
	surplus  []string // ids that were given and are not used: to be left
	protocol string
	leader   bool // watches the partitions of the group's topics

	// coordinator.go
	coordinator   string    // its address; empty while it is not known
	epoch         int       // counts coordinators
	proven        bool      // it has validated this member since it was found
	coordinatorAt time.Time // not to be asked before
	avoid         string    // the one that failed last
	good          string    // the broker that was last to name it
	failures      int       // of coordinators in a row
	brokers       []string  // from metadata
	findTries     int
	findAt        time.Time
	probeFails    int
	probeAt       time.Time

	// join.go
	protocols   []protocol // as sent, so that a retry is the same to a byte
	joinAt      time.Time
	joinFails   int
	rounds      int       // of joining since the last assignment
	strays      int       // joins without a member id that were given up
	strayed     time.Time // the last of them
	fresh       bool      // the first assignment after joining without a member id
	members     []groupMember
	plan        []memberAssignment
	syncAt      time.Time
	got         []contactsync.TopicPartition // assigned, not yet given to the owner
	raw         []byte                       // the assignment as it came
	misfits     int
	owned       claims // the last assignment
	groupTopics []string

	// lease.go
	beatAt  time.Time
	proveAt time.Time
	lease   time.Time

	// watch.go
	topics     map[string]Topic
	planned    map[string]Topic // as they were when the group's plan was made
	looked     bool             // since the last join
	lookAt     time.Time
	lookFails  int
	lookNext   int
	suspicious bool // the last answer held less than was known
	check      checkState
	checkAt    time.Time
	checkTries int
	described  []groupMember

	hold   *holding
	number int32
	asks   []ask
	ticket int

	lanes  [kinds]int // the open call of each kind; 0 for none
	calls  map[int]*call
	callID int

	out    []Call
	events []Event
	wake   time.Time
}

// identity is what the coordinator knows a member by.
type identity struct {
	member     string
	generation int32 // -1 outside of a generation
}

type phase int

const (
	phaseJoin    phase = iota // until JoinGroup is answered
	phasePlan                 // the leader wants to know the partitions
	phaseSync                 // until SyncGroup is answered
	phaseAccept               // assigned; lease and topics are being asked for
	phaseHold                 // the owner has the assignment
	phaseRelease              // the owner gives it back
	phaseLeave                // until LeaveGroup is answered
	phaseOut                  // fenced
	phaseDone                 // stopped
)

// holding is the assignment that the owner has.
type holding struct {
	number    int32
	by        identity
	parts     []contactsync.TopicPartition
	ids       map[string]TopicID
	suspect   map[string]bool // topics that may have been created again
	recreated map[string]bool // topics that were
	lost      bool
}

// Todo is what the driver of a member has to do.
type Todo struct {
	Calls  []Call
	Events []Event
	Wake   time.Time // when to call Poll again at the latest; zero for never
}

// Call is a request to be sent.
type Call struct {
	ID      int
	To      string // address of the broker
	Request request
	Timeout time.Duration
}

// call is a Call that was sent.
type call struct {
	kind  kind
	to    string
	sent  time.Time
	by    identity
	epoch int
	ask   ask
}

type kind int

const (
	kindFind kind = iota
	kindProbe
	kindJoin
	kindSync
	kindProof
	kindBeat
	kindLeave
	kindLook
	kindDescribe
	kindCommit
	kindFetch
	kinds
)

// New returns a member that joins when it is polled.
func New(cfg Config) *Member {
	m := &Member{
		cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0)),
		id: identity{generation: -1}, owned: claims{generation: -1},
		topics: map[string]Topic{}, calls: map[int]*call{},
	}
	m.protocols = m.offer()
	return m
}

// Poll returns what there is to do now.
func (m *Member) Poll(now time.Time) Todo {
	m.wake = time.Time{}
	m.expire(now)
	m.find(now)
	m.join(now)
	m.sync(now)
	m.accept(now)
	m.leave(now)
	m.probe(now)
	m.beat(now)
	m.prove(now)
	m.look(now)
	m.describe(now)
	m.serve(now)
	todo := Todo{m.out, m.events, m.wake}
	m.out, m.events = nil, nil
	return todo
}

// Answer hands in the answer to a call, or why there is none.
func (m *Member) Answer(now time.Time, id int, res response, err error) {
	m.expire(now)
	c := m.calls[id]
	if c == nil {
		return
	}
	delete(m.calls, id)
	late := m.lanes[c.kind] != id
	if !late {
		m.lanes[c.kind] = 0
	}
	if m.phase == phaseDone {
		return
	}
	switch c.kind {
	case kindFind:
		m.onFind(now, c, res, err)
	case kindProbe:
		m.onProbe(now, c, err)
	case kindJoin:
		m.onJoin(now, c, late, res, err)
	case kindSync:
		m.onSync(now, c, late, res, err)
	case kindProof:
		m.onProof(now, c, late, res, err)
	case kindBeat:
		m.onBeat(now, c, late, res, err)
	case kindLeave:
		m.onLeave(now, c, err)
	case kindLook:
		m.onLook(now, res, err)
	case kindDescribe:
		m.onDescribe(now, c, late, res, err)
	case kindCommit, kindFetch:
		m.onAsk(now, c, res, err)
	}
}

// Released says that the owner has given an assignment back.
func (m *Member) Released(now time.Time, number int32) {
	m.expire(now)
	if m.hold == nil || m.hold.number != number {
		return
	}
	m.hold, m.lease = nil, time.Time{}
	if m.phase == phaseHold { // of its own accord
		m.after = phaseJoin
		m.phase = phaseRelease
	}
	if m.phase == phaseRelease {
		m.next(now)
	}
}

// Stop makes the member give its partitions back and leave. A static member does
// not leave the group: it may be back within a session.
func (m *Member) Stop(now time.Time) {
	m.expire(now)
	if m.stopping {
		return
	}
	m.stopping = true
	switch m.phase {
	case phaseHold:
		m.rejoin(now, ErrStopped)
	case phaseRelease:
	case phaseOut:
		m.finish()
	case phaseJoin, phasePlan, phaseSync, phaseAccept, phaseLeave, phaseDone:
		m.next(now)
	}
}

// LeaseUntil is until when the owner may work on its assignment: the last
// confirmation, counted from its sending, and a session less the margin. It is
// zero where nothing is owned.
func (m *Member) LeaseUntil() time.Time {
	if m.hold == nil || m.hold.lost {
		return time.Time{}
	}
	return m.lease
}

// next goes on where nothing is held.
func (m *Member) next(now time.Time) {
	switch {
	case m.stopping && m.after == phaseOut:
		m.finish()
	case m.stopping && m.phase != phaseLeave && m.phase != phaseDone:
		m.startLeave(now)
	case m.stopping:
	case m.after == phaseOut:
		m.phase = phaseOut
	default:
		m.startJoin(now)
	}
}

func (m *Member) finish() {
	m.phase = phaseDone
	for _, c := range m.calls {
		if c.ask.ticket != 0 {
			m.finishAsk(c.ask, ErrNotOwned)
		}
	}
	for _, a := range m.asks {
		m.finishAsk(a, ErrNotOwned)
	}
	m.asks = nil
	m.events = append(m.events, Left{})
}

// rejoin ends an assignment in order: the owner is asked for it, and while it gives
// it back the membership goes on.
func (m *Member) rejoin(now time.Time, cause error) {
	switch m.phase {
	case phaseAccept:
		m.startJoin(now)
	case phaseHold:
		m.phase, m.after = phaseRelease, phaseJoin
		m.events = append(m.events, Release{m.hold.number, cause})
	}
}

// lose takes the owner's assignment away. Without one the member goes on at once.
func (m *Member) lose(now time.Time, cause error, after phase) {
	m.id.generation = -1
	m.after = after
	if m.hold == nil {
		m.next(now)
		return
	}
	m.phase = phaseRelease
	if !m.hold.lost {
		m.hold.lost = true
		m.events = append(m.events, Lost{m.hold.number, cause})
	}
}

func (m *Member) trouble(err error) { m.events = append(m.events, Trouble{err}) }

// due reports whether t has come. Where it has not, Poll is to be called then.
func (m *Member) due(now, t time.Time) bool {
	if !now.Before(t) {
		return true
	}
	if m.wake.IsZero() || t.Before(m.wake) {
		m.wake = t
	}
	return false
}

// send puts a call out.
func (m *Member) send(now time.Time, k kind, to string, req request, timeout time.Duration) *call {
	m.callID++
	c := &call{kind: k, to: to, sent: now, by: m.id, epoch: m.epoch}
	m.calls[m.callID], m.lanes[k] = c, m.callID
	m.out = append(m.out, Call{m.callID, to, req, timeout})
	return c
}

// idle reports whether no call of the kind is open.
func (m *Member) idle(k kind) bool { return m.lanes[k] == 0 }

// static reports whether this is a static member.
func (m *Member) static() bool { return m.cfg.InstanceID != "" }

// offer returns the protocols to join with. What was owned goes along: the sticky
// protocol wants it, and a member that joins because it wants another assignment
// must differ from what it said before, or the coordinator answers with the old one.
func (m *Member) offer() []protocol {
	var list []protocol
	topics := slices.Sorted(slices.Values(m.cfg.Topics))
	for _, name := range protocolNames() {
		s := subscription{topics: topics}
		if m.owned.generation >= 0 {
			if name == sticky {
				s.userData = m.owned.bytes()
			} else {
				w := &writer{}
				w.int32(m.owned.generation)
				s.userData = w.buf
			}
		}
		list = append(list, protocol{name, s.bytes()})
	}
	return list
}
