package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
)

// model is a classic group as Apache Kafka's coordinator keeps it: generations,
// sessions, pending ids, static members. It has the parts that a member can see.
type model struct {
	s          *sim
	state      string // Empty, Preparing, Completing, Stable
	generation int32
	protocol   string
	leader     string
	members    map[string]*modelMember
	static     map[string]string // member id by instance id
	pending    map[string]time.Time
	joinBy     time.Time // when the join phase ends for those who have not joined
	syncBy     time.Time
	offsets    map[contactsync.TopicPartition]Offset
	ids        int
	rebalances int // join phases that began
	persisted  *model
	journal    []journaled          // what the offsets topic holds, in its order
	touched    map[string]time.Time // when it last had a sign of life, by member id

	joinVersion int16 // what the broker and the members share
	maxSize     int
	accepted    func(*commitRequest, Offset) // called for each offset that is taken
}

type modelMember struct {
	id, instance       string
	session, rebalance time.Duration
	protocols          []protocol
	assignment         []byte
	expires            time.Time
	join               func(*joinResponse)
	sync               func(*syncResponse)
	synced             bool
}

func newModel(s *sim) *model {
	return &model{
		s: s, state: "Empty", members: map[string]*modelMember{}, static: map[string]string{}, pending: map[string]time.Time{}, touched: map[string]time.Time{},
		offsets: map[contactsync.TopicPartition]Offset{}, joinVersion: 9,
		accepted: func(r *commitRequest, o Offset) {
			s.commits = append(s.commits, commitSeen{s.now, r.member, r.generation, o})
		},
	}
}

// touch starts a member's session anew.
func (g *model) touch(m *modelMember) {
	m.expires, g.touched[m.id] = g.s.now.Add(m.session), g.s.now
	g.s.at(m.expires, g.tick)
}

// tick ends what has lasted too long.
func (g *model) tick() {
	now := g.s.now
	for _, id := range slices.Sorted(maps.Keys(g.pending)) {
		if !now.Before(g.pending[id]) {
			delete(g.pending, id)
			g.tryComplete()
		}
	}
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		m := g.members[id]
		if m != nil && m.join == nil && m.sync == nil && !now.Before(m.expires) {
			g.remove(m)
		}
	}
	if g.state == "Preparing" && !now.Before(g.joinBy) {
		g.complete()
	}
	if (g.state == "Completing" || g.state == "Stable") && !now.Before(g.syncBy) {
		late := slices.DeleteFunc(slices.Sorted(maps.Keys(g.members)), func(id string) bool { return g.members[id].synced })
		for _, id := range late { // whoever is removed first begins the next join phase, in which nobody has synced
			if m := g.members[id]; m != nil {
				g.remove(m)
			}
		}
	}
}

func (g *model) remove(m *modelMember) {
	delete(g.members, m.id)
	if m.instance != "" && g.static[m.instance] == m.id {
		delete(g.static, m.instance)
	}
	if m.join != nil {
		m.join(&joinResponse{code: codeUnknownMember})
	}
	if m.sync != nil {
		m.sync(&syncResponse{code: codeUnknownMember})
	}
	if g.leader == m.id {
		g.leader = ""
	}
	switch g.state {
	case "Stable", "Completing":
		g.prepare()
	case "Preparing":
		g.tryComplete()
	}
}

func (g *model) join(r *joinRequest, reply func(*joinResponse)) {
	refuse := func(c Code) { reply(&joinResponse{version: g.joinVersion, code: c, member: r.member, generation: -1}) }
	switch {
	case r.session < 6*time.Second || r.session > 30*time.Minute:
		refuse(codeSessionTimeout)
		return
	case len(g.members) > 0 && len(g.common(r.protocols)) == 0:
		refuse(codeInconsistentProtocol)
		return
	case r.member == "" && r.instance == "":
		if g.maxSize > 0 && len(g.members) >= g.maxSize {
			refuse(codeGroupFull)
			return
		}
		id := g.newID("member")
		g.pending[id] = g.s.now.Add(r.session)
		g.s.at(g.pending[id], g.tick)
		reply(&joinResponse{version: g.joinVersion, code: codeMemberIDRequired, member: id, generation: -1})
		return
	case r.member == "":
		old := g.members[g.static[r.instance]]
		if old == nil {
			g.add(&modelMember{id: g.newID(r.instance)}, r, reply)
			return
		}
		g.replace(old, r, reply)
		return
	case r.instance != "" && g.static[r.instance] == "":
		refuse(codeUnknownMember)
		return
	case r.instance != "" && g.static[r.instance] != r.member:
		refuse(codeFencedInstance)
		return
	}
	if _, ok := g.pending[r.member]; ok {
		delete(g.pending, r.member)
		g.add(&modelMember{id: r.member}, r, reply)
		return
	}
	m := g.members[r.member]
	if m == nil {
		refuse(codeUnknownMember)
		return
	}
	same := sameProtocols(m.protocols, r.protocols)
	switch {
	case g.state == "Completing" && same, g.state == "Stable" && same && g.leader != m.id:
		reply(g.joined(m))
		return
	}
	g.update(m, r)
	m.join = reply
	if g.state != "Preparing" {
		g.prepare()
		return
	}
	g.tryComplete()
}

func (g *model) newID(prefix string) string {
	g.ids++
	return fmt.Sprintf("%s-%036d", prefix, g.ids)
}

func (g *model) update(m *modelMember, r *joinRequest) {
	m.instance, m.session, m.rebalance, m.protocols = r.instance, r.session, r.rebalance, r.protocols
	g.touch(m)
}

func (g *model) add(m *modelMember, r *joinRequest, reply func(*joinResponse)) {
	g.update(m, r)
	g.members[m.id] = m
	if m.instance != "" {
		g.static[m.instance] = m.id
	}
	m.join = reply
	if g.state == "Preparing" {
		g.tryComplete()
		return
	}
	g.prepare()
}

// replace gives a static member a new id. In a stable group whose protocol stays the
// same it gets the old assignment, whatever it subscribes to now.
func (g *model) replace(old *modelMember, r *joinRequest, reply func(*joinResponse)) {
	m := &modelMember{id: g.newID(r.instance), assignment: old.assignment, synced: old.synced}
	delete(g.members, old.id)
	g.members[m.id], g.static[r.instance] = m, m.id
	if old.join != nil {
		old.join(&joinResponse{code: codeFencedInstance})
	}
	if old.sync != nil {
		old.sync(&syncResponse{code: codeFencedInstance})
	}
	led := g.leader == old.id
	if led {
		g.leader = m.id
	}
	g.update(m, r)
	switch {
	case g.state == "Stable" && g.vote() == g.protocol:
		res := &joinResponse{version: g.joinVersion, generation: g.generation, protocol: g.protocol, leader: g.leader, member: m.id}
		if led && g.joinVersion >= 9 {
			res.skip, res.members = true, g.list()
		} else if led {
			res.leader = old.id
		}
		g.persist()
		reply(res)
	case g.state == "Preparing":
		m.join = reply
		g.tryComplete()
	default:
		m.join = reply
		g.prepare()
	}
}

func sameProtocols(a, b []protocol) bool {
	return slices.EqualFunc(a, b, func(a, b protocol) bool { return a.name == b.name && string(a.metadata) == string(b.metadata) })
}

// common are the protocols that all members know, with these of another one.
func (g *model) common(extra []protocol) []string {
	var names []string
	for _, p := range extra {
		names = append(names, p.name)
	}
	for _, m := range g.members {
		names = slices.DeleteFunc(names, func(n string) bool {
			return !slices.ContainsFunc(m.protocols, func(p protocol) bool { return p.name == n })
		})
	}
	return names
}

// vote lets each member vote for the first common protocol in its own order.
func (g *model) vote() string {
	votes := map[string]int{}
	for _, m := range g.members {
		common := g.common(m.protocols)
		votes[common[0]]++
	}
	return slices.MaxFunc(slices.Sorted(maps.Keys(votes)), func(a, b string) int { return votes[a] - votes[b] })
}

func (g *model) list() []joinedMember {
	var list []joinedMember
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		m := g.members[id]
		for _, p := range m.protocols {
			if p.name == g.protocol {
				list = append(list, joinedMember{id, m.instance, p.metadata})
			}
		}
	}
	return list
}

func (g *model) joined(m *modelMember) *joinResponse {
	res := &joinResponse{version: g.joinVersion, generation: g.generation, protocol: g.protocol, leader: g.leader, member: m.id}
	if g.leader == m.id {
		res.members = g.list()
	}
	return res
}

// prepare begins a join phase.
func (g *model) prepare() {
	g.rebalances++
	longest := time.Duration(0)
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		m := g.members[id]
		longest = max(longest, m.rebalance)
		m.synced = false
		if m.sync != nil {
			reply := m.sync
			m.sync = nil
			g.touch(m)
			reply(&syncResponse{code: codeRebalance})
		}
	}
	g.state = "Preparing"
	g.joinBy = g.s.now.Add(longest)
	g.s.at(g.joinBy, g.tick)
	g.tryComplete()
}

func (g *model) tryComplete() {
	if g.state != "Preparing" || len(g.pending) > 0 {
		return
	}
	for _, m := range g.members {
		if m.join == nil {
			return
		}
	}
	g.complete()
}

// complete ends the join phase: dynamic members that have not joined are out, static
// ones stay.
func (g *model) complete() {
	for id, m := range g.members {
		if m.join == nil && m.instance == "" {
			delete(g.members, id)
		}
	}
	if len(g.members) == 0 {
		g.state, g.leader = "Empty", ""
		g.generation++
		g.persist()
		return
	}
	if m := g.members[g.leader]; m == nil || m.join == nil {
		g.leader = ""
		for _, id := range slices.Sorted(maps.Keys(g.members)) {
			if g.members[id].join != nil && g.leader == "" {
				g.leader = id
			}
		}
		if g.leader == "" { // static members only, all away
			g.joinBy = g.s.now.Add(time.Minute)
			g.s.at(g.joinBy, g.tick)
			return
		}
	}
	g.generation++
	g.protocol = g.vote()
	g.state = "Completing"
	longest := time.Duration(0)
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		m := g.members[id]
		longest = max(longest, m.rebalance)
		if reply := m.join; reply != nil {
			m.join = nil
			g.touch(m)
			reply(g.joined(m))
		}
	}
	g.syncBy = g.s.now.Add(longest)
	g.s.at(g.syncBy, g.tick)
}

// check validates a member's id and generation.
func (g *model) check(id, instance string, generation int32) Code {
	m := g.members[id]
	switch {
	case instance != "" && g.static[instance] == "":
		return codeUnknownMember
	case instance != "" && g.static[instance] != id:
		return codeFencedInstance
	case m == nil:
		return codeUnknownMember
	case generation != g.generation:
		return codeIllegalGeneration
	}
	return codeOK
}

func (g *model) syncGroup(r *syncRequest, reply func(*syncResponse)) {
	if code := g.check(r.member, r.instance, r.generation); code != codeOK {
		reply(&syncResponse{code: code})
		return
	}
	m := g.members[r.member]
	switch g.state {
	case "Preparing":
		reply(&syncResponse{code: codeRebalance})
	case "Stable":
		m.synced = true
		g.touch(m)
		reply(&syncResponse{assignment: m.assignment})
	case "Completing":
		m.sync, m.synced = reply, true
		if g.leader != m.id {
			return
		}
		for _, m := range g.members {
			m.assignment = nil
		}
		for _, a := range r.assignments {
			if m := g.members[a.member]; m != nil {
				m.assignment = a.assignment
			}
		}
		g.state = "Stable"
		g.persist()
		for _, id := range slices.Sorted(maps.Keys(g.members)) {
			m := g.members[id]
			if reply := m.sync; reply != nil {
				m.sync = nil
				g.touch(m)
				reply(&syncResponse{assignment: m.assignment})
			}
		}
	}
}

func (g *model) heartbeat(r *heartbeatRequest) Code {
	if code := g.check(r.member, r.instance, r.generation); code != codeOK {
		return code
	}
	g.touch(g.members[r.member])
	if g.state == "Preparing" {
		return codeRebalance
	}
	return codeOK
}

func (g *model) leave(r *leaveRequest) {
	for _, l := range r.members {
		delete(g.pending, l.member)
		if m := g.members[l.member]; m != nil {
			g.remove(m)
		}
	}
	g.tryComplete()
}

// commit checks each offset's topic id, as brokers do from version 10 on.
func (g *model) commit(r *commitRequest) *commitResponse {
	code := g.check(r.member, r.instance, r.generation)
	if code == codeOK && g.state == "Completing" {
		code = codeRebalance
	}
	res := &commitResponse{}
	for _, o := range r.offsets {
		o.Code = code
		if t := g.s.topics[o.Topic]; code == codeOK && g.s.checkIDs && o.TopicID != (TopicID{}) && t.ID != o.TopicID { // by name, nothing is compared
			o.Code = codeUnknownTopicID
		}
		if o.Code == codeOK {
			g.keep(o)
			g.accepted(r, o)
		}
		res.results = append(res.results, o)
	}
	if code == codeOK {
		g.touch(g.members[r.member])
	}
	return res
}

func (g *model) fetch(r *fetchRequest) *fetchResponse {
	res := &fetchResponse{}
	for _, o := range r.offsets {
		known, ok := g.offsets[o.TopicPartition]
		if !ok {
			known = Offset{TopicPartition: o.TopicPartition, Offset: -1, LeaderEpoch: -1}
		}
		res.offsets = append(res.offsets, known)
	}
	return res
}

func (g *model) describe() *describeResponse {
	res := &describeResponse{state: g.state, protocol: g.protocol}
	for _, j := range g.list() {
		res.members = append(res.members, describedMember{j.id, j.instance, j.metadata, g.members[j.id].assignment})
	}
	return res
}

// persist keeps what the offsets topic would hold.
func (g *model) persist() {
	c := *g
	c.persisted, c.journal, c.members, c.static = nil, nil, map[string]*modelMember{}, maps.Clone(g.static)
	for id, m := range g.members {
		p := *m
		p.join, p.sync = nil, nil
		c.members[id] = &p
	}
	g.persisted = &c
	g.journal = append(g.journal, journaled{group: &c})
}

// reload is what another coordinator finds: the last stable generation, each member
// with a whole session. Pending ids and a join phase under way are forgotten.
func (g *model) reload(answerWaiting bool) {
	waiting := slices.Collect(maps.Values(g.members))
	old := g.persisted
	g.members, g.static, g.pending = map[string]*modelMember{}, map[string]string{}, map[string]time.Time{}
	g.state = "Empty"
	if old != nil {
		g.generation, g.protocol, g.leader, g.static = old.generation, old.protocol, old.leader, maps.Clone(old.static)
		for _, id := range slices.Sorted(maps.Keys(old.members)) {
			m := *old.members[id]
			m.synced = true
			g.members[id] = &m
			g.touch(&m)
			g.state = "Stable"
		}
	}
	if !answerWaiting {
		return
	}
	slices.SortFunc(waiting, func(a, b *modelMember) int { return strings.Compare(a.id, b.id) })
	for _, m := range waiting {
		if m.join != nil {
			m.join(&joinResponse{code: codeNotCoordinator})
		}
		if m.sync != nil {
			m.sync(&syncResponse{code: codeNotCoordinator})
		}
	}
}
