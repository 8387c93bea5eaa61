package upstream

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/contactsync/contactsync"
)

// member is a member of an answer, as a bit.
type member int

const (
	memberTotal member = 1 << iota
	memberSuccessful
	memberFailed
	memberSuccesses
	memberFailures

	allCounters = memberTotal | memberSuccessful | memberFailed
)

// memberOf returns the member called name, or 0 for one that is not read.
func memberOf(name []byte) member {
	switch string(name) {
	case "totalRequested":
		return memberTotal
	case "successful":
		return memberSuccessful
	case "failed":
		return memberFailed
	case "successfulRecords":
		return memberSuccesses
	case "failedRecords":
		return memberFailures
	}
	return 0
}

// tally counts how often, and in which list, an answer names each row of a batch.
type tally struct {
	rows     []contactsync.Row
	index    map[string]int // row by contact id
	folded   map[string]int // by contactsync.FoldID of it
	seen     member         // counters that are numbers, lists that are arrays
	repeated bool           // one of them occurs twice

	total, successful, failed int64 // the counters, if seen

	successes []uint8 // per row: records in successfulRecords; 2 is two or more
	failures  []uint8 // likewise in failedRecords
	texts     map[int]*errorText

	records     int // of both lists
	failRecords int // of failedRecords
	withoutID   int // records that name nobody
	unmatched   int // records that name no row of the batch, those without an id included
	ambiguous   int // records that name more than one row
	respelled   int // records that name a row in other case than it was sent

	strays        []stray
	strayFailures int  // records of failedRecords that name no row of the batch
	failing       bool // the answer itself, or a success that names nobody, has signs of failure
}

// stray is a record that names no row of the batch. The first may be about the only row
// that is not named.
type stray struct {
	list        member
	nameless    bool // it has no id, so it belongs to no other request
	contradicts bool
	text        errorText
}

func newTally(rows []contactsync.Row) *tally {
	t := &tally{
		rows: rows, index: make(map[string]int, len(rows)), texts: map[int]*errorText{},
		successes: make([]uint8, len(rows)), failures: make([]uint8, len(rows)),
	}
	for i, row := range rows {
		t.index[row.ID] = i
	}
	return t
}

// find returns the row that an id names: as it was sent, or else in other case.
func (t *tally) find(id []byte) (row int, known bool) {
	if row, known = t.index[string(id)]; known {
		return row, true
	}
	if t.folded == nil { // rarely needed
		t.folded = make(map[string]int, len(t.rows))
		for i := range t.rows {
			t.folded[contactsync.FoldID(t.rows[i].ID)] = i
		}
	}
	if row, known = t.folded[contactsync.FoldID(string(id))]; known {
		t.respelled++
	}
	return row, known
}

// readMember reads the value of one member of the answer from d.
func (t *tally) readMember(d *jsontext.Decoder, name []byte, a *answerReader) error {
	m := memberOf(name)
	again := t.seen&m != 0
	t.repeated = t.repeated || again
	switch {
	case m&allCounters != 0:
		return t.readCounter(d, m, again)
	case m == memberSuccesses && d.PeekKind() == '[':
		return t.readList(d, m, a.successPaths, t.successes)
	case m == memberFailures && d.PeekKind() == '[':
		return t.readList(d, m, a.failurePaths, t.failures)
	}
	title := string(name) // which is valid only until the value is read
	value, err := d.ReadValue()
	t.failing = t.failing || err == nil && m == 0 && signOf(title, value) == signFailure
	return err
}

// readCounter reads a counter. Of one that occurs twice the worse value counts.
func (t *tally) readCounter(d *jsontext.Decoder, m member, again bool) error {
	value, err := d.ReadValue()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return nil // null, a string, a fraction: as if the counter were absent
	}
	t.seen |= m
	switch m {
	case memberTotal:
		t.total = n
	case memberSuccessful:
		if again {
			n = min(n, t.successful)
		}
		t.successful = n
	case memberFailed:
		if again {
			n = max(n, t.failed)
		}
		t.failed = n
	}
	return nil
}

func (t *tally) readList(d *jsontext.Decoder, m member, paths *pathTree, counts []uint8) error {
	t.seen |= m
	var r record
	return eachElement(d, func([]byte) error {
		if err := r.read(d, m, paths); err != nil {
			return err
		}
		t.records++
		if m == memberFailures {
			t.failRecords++
		}
		t.add(&r, m, counts)
		return nil
	})
}

// add counts one record. A record that names several rows leaves each of them
// contradicted, so it settles none.
func (t *tally) add(r *record, list member, counts []uint8) {
	if len(r.ids) == 0 {
		t.withoutID++
	}
	row := -1
	for _, id := range r.ids {
		at, known := t.find(id)
		switch {
		case !known || at == row:
		case row < 0:
			row = at
		default:
			t.ambiguous++
			for _, id := range r.ids {
				if at, known := t.find(id); known {
					t.successes[at], t.failures[at] = 1, 1
				}
			}
			return
		}
	}
	if row < 0 {
		t.unmatched++
		if list == memberFailures {
			t.strayFailures++
		}
		if len(t.strays) == 0 {
			t.strays = append(t.strays, stray{list, len(r.ids) == 0, r.contradicts, r.text})
		}
		t.failing = t.failing || list == memberSuccesses && r.contradicts
		return
	}
	counts[row] = min(counts[row]+1, 2)
	if r.contradicts {
		t.successes[row], t.failures[row] = 1, 1
	}
	if t.texts[row] == nil && !r.text.empty() {
		text := r.text
		t.texts[row] = &text
	}
}

// rowState is what the lists say of a row.
type rowState uint8

const (
	rowUnnamed rowState = iota
	rowDone
	rowFailed
	rowContradicted // named twice as done, as both, or in doubt by its own record
)

func (t *tally) state(row int) rowState {
	switch done, failed := t.successes[row], t.failures[row]; {
	case done == 1 && failed == 0:
		return rowDone
	case failed > 0 && done == 0:
		return rowFailed
	case done > 0:
		return rowContradicted
	}
	return rowUnnamed
}

func (t *tally) count(state rowState) (n int) {
	for i := range t.rows {
		if t.state(i) == state {
			n++
		}
	}
	return n
}

// allDelivered reports whether the counters account for every row as successful,
// without a list that contradicts them; see answerReader.read.
func (t *tally) allDelivered() bool {
	n := len(t.rows)
	return t.seen&allCounters == allCounters && !t.repeated && !t.failing &&
		t.total == int64(n) && t.successful == int64(n) && t.failed == 0 &&
		t.failRecords == 0 && t.records == t.withoutID && (t.records == 0 || t.records == n)
}

// claimsAll reports whether the answer counts every row as successful, and names none. Where nothing
// contradicts that, all are delivered; see allDelivered.
func (t *tally) claimsAll() bool {
	return t.seen&memberSuccessful != 0 && t.successful == int64(len(t.rows)) && t.count(rowUnnamed) == len(t.rows)
}

// allFailed reports whether the lists name each row of the batch as failed, and nothing else.
func (t *tally) allFailed() bool {
	n := len(t.rows)
	return t.count(rowFailed) == n && t.unmatched == 0 && (t.seen&memberTotal == 0 || t.total == int64(n))
}

// elimination settles the only row that an answer does not name.
type elimination struct {
	row  int // -1 for none
	done bool
	text *errorText // why it failed
}

// eliminated returns what the only unnamed row must be: there is one record that names no
// row. Where the
// record has another id, or says that the row is done, the counters have to account for
// all rows so; one that has another id delivers nothing.
func (t *tally) eliminated() elimination {
	none := elimination{row: -1}
	row := -1
	for i := range t.rows {
		switch t.state(i) {
		case rowUnnamed:
			if row >= 0 {
				return none
			}
			row = i
		case rowContradicted:
			return none
		}
	}
	if row < 0 || t.repeated || t.failing || t.unmatched > 1 {
		return none
	}
	counted := func(done, failed int) bool {
		return t.seen&allCounters == allCounters && t.total == int64(len(t.rows)) &&
			t.successful == int64(done) && t.failed == int64(failed)
	}
	done, failed := t.count(rowDone), t.count(rowFailed)
	if t.unmatched == 0 {
		return none // a counter alone refuses nobody: the row is asked for again
	}
	switch s := &t.strays[0]; {
	case s.contradicts:
	case s.list == memberSuccesses && s.nameless && counted(done+1, failed):
		return elimination{row: row, done: true}
	case s.list == memberFailures && counted(done, failed+1),
		s.list == memberFailures && s.nameless && t.seen&memberFailed == 0:
		return elimination{row: row, text: &s.text}
	}
	return none
}

// doubts reports whether the rows that are listed as done, or those listed as failed, may
// have been the opposite: an answer counts more failures than rows can be that it does not
// list as done, or fewer successes than it lists, and likewise the other way round.
func (t *tally) doubts(left elimination) (done, failed bool) {
	listed, refused := t.count(rowDone), t.count(rowFailed)
	open := t.count(rowUnnamed) + t.count(rowContradicted)
	if left.row >= 0 {
		open = 0
		if left.done {
			listed++
		} else {
			refused++
		}
	}
	failures := refused
	if left.row < 0 {
		failures += t.strayFailures
	}
	if t.seen&memberFailed != 0 {
		failures = max(failures, int(min(t.failed, 1<<30)))
		failed = t.failed < int64(refused)
	}
	done = failures > refused+open || t.failing && failures == 0
	if t.seen&memberSuccessful != 0 {
		done = done || t.successful < int64(listed)
		failed = failed || t.successful > int64(listed+open) && t.successful <= int64(len(t.rows))
	}
	return done, failed
}

// ids counts how the answer accounts for the batch.
func (t *tally) ids(left elimination) idCounts {
	n := idCounts{
		asked: len(t.rows), answered: t.count(rowDone) + t.count(rowFailed), missing: t.count(rowUnnamed),
		repeated: t.count(rowContradicted), unknown: t.unmatched, respelled: t.respelled,
	}
	if left.row >= 0 {
		n.answered, n.missing, n.unknown = n.answered+1, n.missing-1, 0
	}
	return n
}

// mostShown bounds a number of an answer that is shown: no request has more rows.
const mostShown = 100_000

// mismatch describes what in an answer does not fit the batch, in numbers only.
func (t *tally) mismatch(left elimination) string {
	n := t.ids(left)
	var parts []string
	add := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	add(n.missing, "%d rows not named")
	add(n.repeated, "%d rows named twice or both as done and failed")
	add(n.unknown, "%d records without an id of the batch")
	add(t.ambiguous, "%d records with more than one id of the batch")
	if t.failing {
		parts = append(parts, "the answer itself has signs of failure")
	}
	delivered, failed := t.count(rowDone), t.count(rowFailed)
	if left.row >= 0 && left.done {
		delivered++
	} else if left.row >= 0 {
		failed++
	}
	off := func(m member, counter int64, listed int) bool { return t.seen&m != 0 && counter != int64(listed) }
	shown := func(n int64) string { // a number of the answer may be one of a telephone
		if n < 0 || n > mostShown {
			return "implausibly many"
		}
		return strconv.FormatInt(n, 10)
	}
	if off(memberTotal, t.total, n.asked) || off(memberSuccessful, t.successful, delivered) || off(memberFailed, t.failed, failed) {
		parts = append(parts, fmt.Sprintf("counters say %s requested, %s successful, %s failed of %d rows",
			shown(t.total), shown(t.successful), shown(t.failed), n.asked))
	}
	return strings.Join(parts, "; ")
}
