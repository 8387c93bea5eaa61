package batcher

import (
	"container/heap"
	"iter"
	"slices"
	"time"
)

// group is a set of rows of one stream that is sent apart from the others: the halves
// of a request that was refused, the rows that an answer left open, or the rows of a
// request whose outcome is not known yet.
type group struct {
	list
	due time.Time
	// loose groups go back to the queue when they fall due, instead of being sent as
	// they are.
	loose bool
	// search groups are of a request that was refused as a whole; see search.go. Where they are guilty,
	// one of these rows and those in then, which wait for the answer to these, is known to be bad.
	search *search
	guilty bool
	then   *group
	// split is set where this is half of a request that was too large, or that failed.
	split *split
	// apart groups are a search for bad rows, or of those that an answer left open or that are sent once more, which have a share of the calls only.
	// Suspect ones are of rows that make requests fail.
	apart, suspect bool
	onceMore       bool // of rows that were refused while others of their requests were accepted
	tries          int  // failed requests of it
	// behind is for how long the account had been throttled when others were given time to go first; 0 where they were not.
	behind time.Duration
	since  time.Time // when it was made, or failed last

	seat int // its place in the heap in which it waits, from 1
}

func newGroup(rows []*contact, due time.Time) *group {
	g := &group{}
	g.group = g
	g.fill(rows, due)
	return g
}

// fill lets rows wait in a group that has none.
func (g *group) fill(rows []*contact, due time.Time) {
	g.due = due
	for _, c := range rows {
		g.pushBack(c)
	}
}

// rank is that of the oldest event that a group gives its stream a turn for.
func (g *group) rank() rank {
	if g.split != nil && !g.suspect {
		return g.split.first
	}
	return g.head.rank
}

// before reports whether a group goes before another one of its stream: the smaller of two parts of requests that were
// too large, which tells more, or else the one that fell due first.
func (g *group) before(other *group) bool {
	if g.split != nil && other.split != nil && !g.suspect && !other.suspect {
		return g.rows < other.rows
	}
	return g.due.Before(other.due)
}

// isolates reports whether a group is to find which row makes the API refuse, or fail, whole requests.
func (g *group) isolates() bool { return g.search != nil || g.suspect }

// exceeds reports whether a group has more than requests may have by now.
func (g *group) exceeds(size *requestSize) bool {
	return g.suspect && int64(g.rows) > size.rows.limit || g.split != nil && !g.suspect && g.rows > 1 && (int64(g.rows) > size.rows.limit || g.bytes > size.bytes.limit)
}

// halve makes two groups of rows.
func halve(rows []*contact, due time.Time) (left, right *group) {
	half := len(rows) / 2
	return newGroup(rows[:half], due), newGroup(rows[half:], due)
}

// split is a request that was too large and whose halves are sent. Where both
// pass, the request was larger than the API takes; where one row is at fault the size
// of the whole is not known to be.
type split struct {
	rows   int
	bytes  int64
	first  rank // of what was refused first, so that its parts tell the size before others are refused for it
	open   int  // halves that have not been answered
	failed bool // one of them was too large as well
	of     *search
}

// answered notes the answer to one half, and reports whether the whole is now known to
// have been too large.
func (s *split) answered(passed bool) (tooLarge bool) {
	s.open--
	s.failed = s.failed || !passed
	return !s.failed && s.open == 0
}

// retries are the groups of one stream that wait to be sent. Suspect and loose ones may be as many as its contacts.
type retries struct {
	few      []*group  // those that are neither, in no order
	suspects groupHeap // of which one is in flight at a time: they may take as long as requests can
	loose    groupHeap
	inFlight int // suspect groups
}

// groupHeap is groups, of which the first is the one that falls due soonest.
type groupHeap []*group

func (h *groupHeap) Len() int           { return len(*h) }
func (h *groupHeap) Less(i, j int) bool { return (*h)[i].due.Before((*h)[j].due) }
func (h *groupHeap) Swap(i, j int) {
	(*h)[i], (*h)[j] = (*h)[j], (*h)[i]
	(*h)[i].seat, (*h)[j].seat = i+1, j+1
}

// Push and Pop are for package heap.
func (h *groupHeap) Push(x any) {
	g := x.(*group)
	*h = append(*h, g)
	g.seat = len(*h)
}

func (h *groupHeap) Pop() any {
	last := len(*h) - 1
	g := (*h)[last]
	(*h)[last], g.seat = nil, 0
	*h = (*h)[:last]
	return g
}

// first is the group that falls due soonest, and due the same if it is due by now; nil where there is none.
func (h *groupHeap) first() *group {
	if len(*h) == 0 {
		return nil
	}
	return (*h)[0]
}

func (h *groupHeap) due(now time.Time) *group {
	if g := h.first(); g != nil && !g.due.After(now) {
		return g
	}
	return nil
}

// heap is the one in which a group waits; nil for one of the few.
func (r *retries) heap(g *group) *groupHeap {
	switch {
	case g.suspect:
		return &r.suspects
	case g.loose:
		return &r.loose
	}
	return nil
}

// all are the groups that wait.
func (r *retries) all() iter.Seq[*group] {
	return func(yield func(*group) bool) {
		for _, of := range [][]*group{r.few, r.suspects, r.loose} {
			for _, g := range of {
				if !yield(g) {
					return
				}
			}
		}
	}
}

func (r *retries) waiting() int { return len(r.few) + len(r.suspects) + len(r.loose) }

// add lets a group wait. One that is empty, because all of its rows have ended, is left
// out, and its other half takes its place.
func (r *retries) add(g *group) {
	for ; g != nil; g = g.then {
		if g.rows == 0 {
			continue
		}
		if h := r.heap(g); h != nil {
			heap.Push(h, g)
		} else {
			r.few = append(r.few, g)
		}
		return
	}
}

func (r *retries) remove(g *group) {
	if h := r.heap(g); h != nil {
		heap.Remove(h, g.seat-1)
	} else {
		i := slices.Index(r.few, g)
		r.few = slices.Delete(r.few, i, i+1)
	}
}

// emptied takes a group out all of whose rows have ended while it waited. Its other half takes its place.
func (r *retries) emptied(g *group) {
	if g.seat > 0 || slices.Contains(r.few, g) { // else it waits for the answer to others
		r.remove(g)
		r.add(g.then)
	}
}

// onceMore returns the last group that waits to be sent once more, or nil.
func (r *retries) onceMore() *group {
	for _, g := range slices.Backward(r.few) {
		if g.onceMore {
			return g
		}
	}
	return nil
}

// soonest returns when the first group falls due that is apart or is not, and the first rank
// of those that they begin with; never and lastRank where there is none. Of the many that are suspect or loose it is that of the one
// that falls due first.
func (r *retries) soonest(apart bool) (due time.Time, first rank) {
	due, first = never, lastRank
	consider := func(g *group) {
		due = earlier(due, g.due)
		if g.rank().compare(first) < 0 {
			first = g.rank()
		}
	}
	for _, g := range r.few {
		if g.apart == apart {
			consider(g)
		}
	}
	if g := r.suspects.first(); g != nil && apart && r.inFlight == 0 {
		consider(g)
	}
	if g := r.loose.first(); g != nil && !apart {
		consider(g)
	}
	return due, first
}

// take removes and returns the group that fell due first, or nil; with regular of those that
// are not apart.
func (r *retries) take(now time.Time, regular bool) *group {
	best := r.suspects.due(now)
	if regular || r.inFlight > 0 {
		best = nil
	}
	for _, g := range r.few {
		if (!regular || !g.apart) && !g.due.After(now) && (best == nil || g.before(best)) {
			best = g
		}
	}
	if best != nil {
		r.remove(best)
	}
	return best
}

// postpone lets groups wait on that fall due and go behind others for longer, because their account was throttled while these were to go
// first, unless they had enough requests: of the suspect and the loose ones those that are next. It reports whether there were any.
func (r *retries) postpone(now time.Time, a *account) (any bool) {
	longer := func(g *group) bool {
		if g == nil || g.due.After(now) || g.behind == 0 || g.behind >= a.throttledFor || g.wentBehind(a.met) {
			return false
		}
		g.due, g.behind, any = g.due.Add(a.throttledFor-g.behind), a.throttledFor, true
		return true
	}
	for _, g := range r.few {
		longer(g)
	}
	for _, h := range []*groupHeap{&r.suspects, &r.loose} {
		for longer(h.first()) {
			heap.Fix(h, 0)
		}
	}
	return any
}

// wentBehind reports whether others had enough requests in front of each row of a group that was throttled.
func (g *group) wentBehind(all met) bool {
	for c := g.head; c != nil; c = c.next {
		if !c.throttlings.wentFirst(all) {
			return false
		}
	}
	return true
}

// dissolve removes and returns a group that is due and need not stay together: a loose
// one, a suspect one or a part of one that was too large, of more rows than requests may have by now or that was acquitted, or with all
// any. It returns nil where there is none.
func (r *retries) dissolve(now time.Time, size *requestSize, acquitted time.Time, all bool) *group {
	needNot := func(g *group) bool { return all || g.exceeds(size) || g.acquitted(acquitted) }
	found := r.loose.due(now)
	if g := r.suspects.due(now); found == nil && g != nil && needNot(g) {
		found = g
	}
	for _, g := range r.few {
		if found == nil && !g.due.After(now) && needNot(g) {
			found = g
		}
	}
	if found != nil {
		r.remove(found)
	}
	return found
}

// enter lets a contact wait that is new, or whose partition has caught up: behind the others
// of its stream, and first for requests of it that may still be applied. That wait is the
// contact's, whatever was deleted, or arrived from which partition, meanwhile.
func (p *pending) enter(now time.Time, c *contact) {
	key := c.key()
	if until, ok := p.late.until[key]; ok {
		c.lateUntil = until
		p.late.drop(key)
	}
	if !p.catchUp.keepsNew(c) {
		p.start(now, c)
	}
}

// start lets a contact wait that no catch-up keeps.
func (p *pending) start(now time.Time, c *contact) {
	switch alone := c.kept || p.alone.until[c.key()].After(now); {
	case !alone && !c.lateUntil.After(now):
		p.queue(c)
	default:
		g := newGroup([]*contact{c}, later(now, c.lateUntil))
		g.loose, g.apart, g.suspect, g.since = !alone, alone, alone, now
		p.sendApart(c.stream, g)
	}
}

// aloneFor is how long a contact goes alone after one of its states was set aside because
// requests with it failed: what comes of it next would make others fail likewise.
const aloneFor = time.Hour

// left notes that a delete has removed a contact.
func (p *pending) left(c *contact) {
	if !c.lateUntil.IsZero() {
		p.late.put(c.key(), c.lateUntil)
	}
}

// deadlines is what is known of contacts up to a time, whether they are pending or not.
type deadlines struct {
	until map[contactKey]time.Time
	bytes int64 // what the window charges for it
}

func newDeadlines() deadlines { return deadlines{until: map[contactKey]time.Time{}} }

func (d *deadlines) put(key contactKey, until time.Time) {
	if _, known := d.until[key]; !known {
		d.bytes += keyedOverhead + int64(len(key.id))
	}
	d.until[key] = until
}

func (d *deadlines) drop(key contactKey) {
	if _, known := d.until[key]; known {
		d.bytes -= keyedOverhead + int64(len(key.id))
		delete(d.until, key)
	}
}

func (d *deadlines) expire(now time.Time) {
	for key, until := range d.until {
		if !until.After(now) {
			d.drop(key)
		}
	}
}

// charged is what the window charges for contacts, and for what is known of those that have ended.
func charged(p *pending) int64 { return p.bytes + p.late.bytes + p.alone.bytes }
