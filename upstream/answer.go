package upstream

import (
	"errors"
	"regexp"

	"github.com/contactsync/contactsync"
)

// errForeignAnswer reports an answer that is JSON, but not one to a bulk update.
var errForeignAnswer = errors.New("answer is not one to a bulk update")

// answer is what the API states about the rows of a batch.
type answer struct {
	rows        []contactsync.Outcome // one per row of the batch, in its order
	mismatch    string                // what does not fit the batch, in numbers only; empty if all does
	rateLimited bool                  // no row was applied, and every reason is the rate limit
}

// answerReader reads answers to bulk updates. Safe for concurrent use.
type answerReader struct {
	successPaths *pathTree
	failurePaths *pathTree
	transient    transientReasons
	rateLimit    *regexp.Regexp
	redactor     *redactor
}

func newAnswerReader(cfg Answer, r *redactor) *answerReader {
	a := &answerReader{
		successPaths: &pathTree{}, failurePaths: &pathTree{}, transient: newTransientReasons(cfg.Transient), redactor: r,
		// What the vendor writes if an account calls too often; the second wording is the older one.
		rateLimit: regexp.MustCompile(`(?i)exceeded the (?:per-minute|hourly) rate limit|rate limit for this api`),
	}
	a.successPaths.add(cfg.SuccessIDs, func(t *pathTree) { t.id = true })
	a.failurePaths.add(cfg.FailureIDs, func(t *pathTree) { t.id = true })
	a.failurePaths.add(cfg.Reasons, func(t *pathTree) { t.reason = true })
	return a
}

// isRateLimit reports whether a body contains the vendor's rate-limit text.
func (a *answerReader) isRateLimit(body []byte) bool { return a.rateLimit.Match(body) }

// read maps an answer to the rows of its batch. The error is errForeignAnswer, or
// another one if the body is not a single complete JSON value.
//
// A row is delivered only if it is listed once, as successful, or if the counters
// account for all rows and no list contradicts them: either there is none, or it
// has one record for each row and no record has an id. Counters are not enough
// beside ids of other rows, because the answer may belong to another request. A row
// is failed if it is listed as failed and not as successful. Every other row is
// unresolved: listed as both, twice as successful, or not at all.
func (a *answerReader) read(body []byte, rows []contactsync.Row, secrets []string) (answer, error) {
	d := newDecoder(body)
	if d.PeekKind() != '{' {
		if _, err := d.ReadValue(); err != nil {
			return answer{}, err
		}
		if err := expectEnd(d); err != nil {
			return answer{}, err
		}
		return answer{}, errForeignAnswer
	}
	t := newTally(rows)
	err := eachElement(d, func(name []byte) error {
		return t.readMember(d, memberOf(name), a)
	})
	if err == nil {
		err = expectEnd(d)
	}
	switch {
	case err != nil:
		return answer{}, err
	case t.seen == 0:
		return answer{}, errForeignAnswer
	case t.allDelivered():
		return answer{rows: allDelivered(len(rows))}, nil
	}
	return a.outcomes(t, rows, secrets), nil
}

func allDelivered(n int) []contactsync.Outcome {
	rows := make([]contactsync.Outcome, n)
	for i := range rows {
		rows[i].Verdict = contactsync.Delivered
	}
	return rows
}

// outcomes turns a tally into one outcome per row.
func (a *answerReader) outcomes(t *tally, rows []contactsync.Row, secrets []string) answer {
	ans := answer{rows: make([]contactsync.Outcome, len(rows))}
	var delivered, failed, contradicted, limited int
	masked := map[string]string{} // by text: usually many rows share a few reasons
	for i := range rows {
		o := &ans.rows[i]
		switch {
		case t.successes[i] == 1 && t.failures[i] == 0:
			o.Verdict = contactsync.Delivered
			delivered++
		case t.failures[i] > 0 && t.successes[i] == 0:
			o.Verdict = contactsync.Failed
			failed++
			text := t.texts[i].String()
			o.Transient = a.transient.match(text)
			reason, known := masked[text]
			if !known { // masked against all rows: a reason may name another contact of the batch
				reason = a.redactor.excerpt(text, secrets, rows)
				masked[text] = reason
			}
			o.Reason = reason
			if a.rateLimit.MatchString(text) {
				limited++
			}
		case t.successes[i] > 0:
			contradicted++
		}
	}
	ans.rateLimited = delivered == 0 && failed > 0 && limited == failed
	ans.mismatch = t.mismatch(delivered, failed, contradicted)
	return ans
}
