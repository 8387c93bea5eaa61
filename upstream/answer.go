package upstream

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/contactsync/contactsync"
)

// errOdd says that an answer is JSON but none to a bulk update.
var errOdd = errors.New("answer is not one to a bulk update")

// answers reads what the API says of each row of a batch.
type answers struct {
	success  *tree
	failure  *tree
	words    []string // that make a reason transient, in lower case
	statuses []string // likewise, as whole numbers
	limit    *regexp.Regexp
	redactor *redactor
}

// settled is what an answer says of a batch.
type settled struct {
	rows    []contactsync.Outcome
	note    string // what in the answer does not fit; empty where all does
	limited bool   // no row was applied, and every reason is the rate limit
}

func newAnswers(cfg Answer, r *redactor) *answers {
	a := &answers{success: &tree{}, failure: &tree{}, redactor: r, limit: newRateLimitText()}
	a.success.add(cfg.SuccessIDs, func(t *tree) { t.id = true })
	a.failure.add(cfg.FailureIDs, func(t *tree) { t.id = true })
	a.failure.add(cfg.Reasons, func(t *tree) { t.reason = true })
	for _, word := range cfg.Transient {
		if word = strings.ToLower(word); strings.Trim(word, "0123456789") == "" {
			a.statuses = append(a.statuses, word)
		} else {
			a.words = append(a.words, word)
		}
	}
	return a
}

// newRateLimitText matches what the vendor writes when an account calls too
// often; the second wording is the older one.
func newRateLimitText() *regexp.Regexp {
	return regexp.MustCompile(`(?i)exceeded the (?:per-minute|hourly) rate limit|rate limit for this api`)
}

// The members of an answer, as bits.
const (
	memberTotal = 1 << iota
	memberSuccessful
	memberFailed
	memberSuccesses
	memberFailures

	allCounters = memberTotal | memberSuccessful | memberFailed
)

func memberOf(name []byte) int {
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

// counters are the three numbers that come first in an answer.
type counters struct {
	total, successful, failed int64
	read                      int // bits of those that are numbers
}

func (c *counters) readInto(d *jsontext.Decoder, member int) error {
	value, err := d.ReadValue()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return nil // null, text, a fraction: a counter that does not count
	}
	c.read |= member
	switch member {
	case memberTotal:
		c.total = n
	case memberSuccessful:
		c.successful = n
	case memberFailed:
		c.failed = n
	}
	return nil
}

// accountForAll tells whether the counters say that each of n rows was applied.
func (c *counters) accountForAll(n int) bool {
	return c.read == allCounters && c.total == int64(n) && c.successful == int64(n) && c.failed == 0
}

func allDelivered(n int) []contactsync.Outcome {
	rows := make([]contactsync.Outcome, n)
	for i := range rows {
		rows[i].Verdict = contactsync.Delivered
	}
	return rows
}

// whole reads one value and makes sure that nothing follows it.
func whole(d *jsontext.Decoder) error {
	if _, err := d.ReadValue(); err != nil {
		return err
	}
	return end(d)
}

func end(d *jsontext.Decoder) error {
	_, err := d.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("answer goes on after its end")
	}
	return err
}

// tally counts how often an answer names each row, and how.
type tally struct {
	index     map[string]int
	applied   []uint8
	refused   []uint8
	sayings   map[int]saying
	elements  int // of both lists
	nameless  int // elements without any id
	strangers int // elements with an id that the batch does not have, or none
	twofold   int // elements that name more than one row
}

// add counts one element. What names several rows settles none of them.
func (t *tally) add(e *element, counts []uint8) {
	t.elements++
	if len(e.ids) == 0 {
		t.nameless++
	}
	row := -1
	for _, id := range e.ids {
		at, known := t.index[string(id)]
		switch {
		case !known || at == row:
		case row < 0:
			row = at
		default:
			t.twofold++
			for _, id := range e.ids {
				if at, known := t.index[string(id)]; known {
					t.applied[at], t.refused[at] = 1, 1
				}
			}
			return
		}
	}
	if row < 0 {
		t.strangers++
		return
	}
	counts[row] = min(counts[row]+1, 2)
	if !e.saying.empty() {
		if _, said := t.sayings[row]; !said {
			t.sayings[row] = e.saying
		}
	}
}

// read maps an answer to the rows of its batch, in their order. It fails with
// errOdd, or with another error where the body is not one complete JSON value.
//
// A row is delivered only where it is named once, as done, or where the counters
// account for all rows and no list contradicts them: there is none, or it has a
// record for each row and none has an id. Failed is what is named as failed and not
// as done. All else is unresolved: named as both, named twice, not named. Counters
// that account for all rows are not enough beside ids that are not the batch's: the
// answer might be that to another request.
func (a *answers) read(body []byte, rows []contactsync.Row, secrets []string) (settled, error) {
	d := newDecoder(body)
	if d.PeekKind() != '{' {
		if err := whole(d); err != nil {
			return settled{}, err
		}
		return settled{}, errOdd
	}
	t := tally{
		index: make(map[string]int, len(rows)), applied: make([]uint8, len(rows)),
		refused: make([]uint8, len(rows)), sayings: map[int]saying{},
	}
	for i, row := range rows {
		t.index[row.ID] = i
	}
	var c counters
	seen, failures, repeated := 0, 0, false
	err := eachElement(d, func(name []byte) error {
		member := memberOf(name)
		repeated = repeated || seen&member != 0
		switch member {
		case memberTotal, memberSuccessful, memberFailed:
			err := c.readInto(d, member)
			seen |= c.read
			return err
		case memberSuccesses, memberFailures:
			if d.PeekKind() != '[' {
				break
			}
			seen |= member
			paths, counts := a.success, t.applied
			if member == memberFailures {
				paths, counts = a.failure, t.refused
			}
			var e element
			return eachElement(d, func([]byte) error {
				if err := e.read(d, paths); err != nil {
					return err
				}
				if t.add(&e, counts); member == memberFailures {
					failures++
				}
				return nil
			})
		}
		_, err := d.ReadValue()
		return err
	})
	if err == nil {
		err = end(d)
	}
	switch {
	case err != nil:
		return settled{}, err
	case seen == 0:
		return settled{}, errOdd
	case c.accountForAll(len(rows)) && !repeated && failures == 0 && t.elements == t.nameless && (t.nameless == 0 || t.nameless == len(rows)):
		return settled{rows: allDelivered(len(rows))}, nil
	}
	return a.outcomes(&t, &c, rows, secrets), nil
}

// outcomes turns a tally into an outcome per row.
func (a *answers) outcomes(t *tally, c *counters, rows []contactsync.Row, secrets []string) settled {
	s := settled{rows: make([]contactsync.Outcome, len(rows))}
	delivered, failed, contradicted, limited := 0, 0, 0, 0
	reasons := map[string]string{} // as they may be written: mostly there are few
	for i := range rows {
		o := &s.rows[i]
		switch {
		case t.applied[i] == 1 && t.refused[i] == 0:
			o.Verdict = contactsync.Delivered
			delivered++
		case t.refused[i] > 0 && t.applied[i] == 0:
			o.Verdict = contactsync.Failed
			failed++
			said := t.sayings[i]
			text := said.String()
			o.Transient = a.transient(text)
			reason, known := reasons[text]
			if !known { // a reason may name another contact of the request as well
				reason = a.redactor.excerpt(text, secrets, rows)
				reasons[text] = reason
			}
			o.Reason = reason
			if a.limit.MatchString(text) {
				limited++
			}
		case t.applied[i] > 0:
			contradicted++
		}
	}
	s.limited = delivered == 0 && failed > 0 && limited == failed
	s.note = note(t, c, len(rows), delivered, failed, contradicted)
	return s
}

// note says what in an answer does not fit, in numbers only.
func note(t *tally, c *counters, rows, delivered, failed, contradicted int) string {
	var parts []string
	say := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	say(rows-delivered-failed-contradicted, "%d rows not named")
	say(contradicted, "%d rows named twice or both as done and failed")
	say(t.strangers, "%d records without an id of the batch")
	say(t.twofold, "%d records with more than one id of the batch")
	if c.read == allCounters && (c.total != int64(rows) || c.successful != int64(delivered) || c.failed != int64(failed)) {
		parts = append(parts, fmt.Sprintf("counters say %d requested, %d successful, %d failed of %d rows",
			c.total, c.successful, c.failed, rows))
	}
	return strings.Join(parts, "; ")
}

// transient tells whether a reason reads like one that passes. Numbers count
// only as whole words: 500 is a status, 45001 is not.
func (a *answers) transient(text string) bool {
	text = strings.ToLower(text)
	for _, word := range a.words {
		if strings.Contains(text, word) {
			return true
		}
	}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if slices.Contains(a.statuses, word) {
			return true
		}
	}
	return false
}
