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
	index    map[string]int // row by contact id
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
}

func newTally(rows []contactsync.Row) *tally {
	t := &tally{
		index: make(map[string]int, len(rows)), texts: map[int]*errorText{},
		successes: make([]uint8, len(rows)), failures: make([]uint8, len(rows)),
	}
	for i, row := range rows {
		t.index[row.ID] = i
	}
	return t
}

// readMember reads the value of one member of the answer from d.
func (t *tally) readMember(d *jsontext.Decoder, m member, a *answerReader) error {
	t.repeated = t.repeated || t.seen&m != 0
	switch {
	case m&allCounters != 0:
		return t.readCounter(d, m)
	case m == memberSuccesses && d.PeekKind() == '[':
		return t.readList(d, m, a.successPaths, t.successes)
	case m == memberFailures && d.PeekKind() == '[':
		return t.readList(d, m, a.failurePaths, t.failures)
	}
	_, err := d.ReadValue()
	return err
}

func (t *tally) readCounter(d *jsontext.Decoder, m member) error {
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
		t.successful = n
	case memberFailed:
		t.failed = n
	}
	return nil
}

func (t *tally) readList(d *jsontext.Decoder, m member, paths *pathTree, counts []uint8) error {
	t.seen |= m
	var r record
	return eachElement(d, func([]byte) error {
		if err := r.read(d, paths); err != nil {
			return err
		}
		t.records++
		if m == memberFailures {
			t.failRecords++
		}
		t.add(&r, counts)
		return nil
	})
}

// add counts one record. A record that names several rows leaves each of them
// contradicted, so it settles none.
func (t *tally) add(r *record, counts []uint8) {
	if len(r.ids) == 0 {
		t.withoutID++
	}
	row := -1
	for _, id := range r.ids {
		at, known := t.index[string(id)]
		switch {
		case !known || at == row:
		case row < 0:
			row = at
		default:
			t.ambiguous++
			for _, id := range r.ids {
				if at, known := t.index[string(id)]; known {
					t.successes[at], t.failures[at] = 1, 1
				}
			}
			return
		}
	}
	if row < 0 {
		t.unmatched++
		return
	}
	counts[row] = min(counts[row]+1, 2)
	if t.texts[row] == nil && !r.text.empty() {
		text := r.text
		t.texts[row] = &text
	}
}

// allDelivered reports whether the counters account for every row as successful,
// without a list that contradicts them; see answerReader.read.
func (t *tally) allDelivered() bool {
	n := len(t.successes)
	return t.seen&allCounters == allCounters && !t.repeated &&
		t.total == int64(n) && t.successful == int64(n) && t.failed == 0 &&
		t.failRecords == 0 && t.records == t.withoutID && (t.records == 0 || t.records == n)
}

// mismatch describes what in an answer does not fit the batch, in numbers only.
func (t *tally) mismatch(delivered, failed, contradicted int) string {
	rows := len(t.successes)
	var parts []string
	add := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	add(rows-delivered-failed-contradicted, "%d rows not named")
	add(contradicted, "%d rows named twice or both as done and failed")
	add(t.unmatched, "%d records without an id of the batch")
	add(t.ambiguous, "%d records with more than one id of the batch")
	if t.seen&allCounters == allCounters && (t.total != int64(rows) || t.successful != int64(delivered) || t.failed != int64(failed)) {
		parts = append(parts, fmt.Sprintf("counters say %d requested, %d successful, %d failed of %d rows",
			t.total, t.successful, t.failed, rows))
	}
	return strings.Join(parts, "; ")
}
