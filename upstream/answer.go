package upstream

import (
	"errors"

	"github.com/contactsync/contactsync"
)

// errForeignAnswer reports an answer that is JSON, but not one to a bulk update.
var errForeignAnswer = errors.New("answer is not one to a bulk update")

// answer is what the API states about the rows of a batch.
type answer struct {
	rows        []contactsync.Outcome // one per row of the batch, in its order
	mismatch    string                // what does not fit the batch, in numbers only; empty if all does
	rateLimited bool                  // rows failed, and every reason is the rate limit
	applied     bool                  // it lists rows as done, without a doubt
	tells       bool                  // it is about these rows whatever its status: see outcomes
	ids         idCounts
}

// idCounts is how well an answer accounts for the ids of a batch, and is counted as such.
type idCounts struct {
	asked     int // rows of the batch
	answered  int // of them named once, or accounted for by counters or elimination
	missing   int // of them not named
	repeated  int // of them named twice, or both as done and as failed
	unknown   int // records that name no row of the batch
	respelled int // records that name a row in other case than it was sent
}

// answerReader reads answers to bulk updates. Safe for concurrent use.
type answerReader struct {
	successPaths *pathTree
	failurePaths *pathTree
	transient    transientReasons
	speaker      *speaker
}

func newAnswerReader(cfg Answer, s *speaker) *answerReader {
	a := &answerReader{
		successPaths: &pathTree{}, failurePaths: &pathTree{}, transient: newTransientReasons(cfg.Transient), speaker: s,
	}
	a.successPaths.add(cfg.SuccessIDs, func(t *pathTree) { t.id = true })
	a.failurePaths.add(cfg.FailureIDs, func(t *pathTree) { t.id = true })
	a.failurePaths.add(cfg.Reasons, func(t *pathTree) { t.reason = true })
	return a
}

// read maps an answer to the rows of its batch. The error is errForeignAnswer, or
// another one if the body is not a single complete JSON value.
//
// A row is delivered only if it is listed once, as successful, or if the counters
// account for all rows and no list contradicts them: either there is none, or it
// has one record for each row and no record has an id. Counters are not enough
// beside ids of other rows, because the answer may belong to another request. A row
// is failed if it is listed as failed and not as successful. One row that is not named
// is settled by elimination; see tally.eliminated. A row is contradicted that is
// listed as both, twice as successful or with signs of the opposite, or that the
// counters contradict; see tally.doubts. Every other row is unresolved.
func (a *answerReader) read(body []byte, rows []contactsync.Row, secrets *ours) (answer, error) {
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
		return t.readMember(d, name, a)
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
		n := len(rows)
		return answer{rows: allDelivered(n), ids: idCounts{asked: n, answered: n}}, nil
	}
	return a.outcomes(t, rows, secrets), nil
}

// onlyApplied are the rows that an answer lists as done, and no others; nil where there are none. What
// it says of the others may be the cause for which the request was refused.
func (a *answer) onlyApplied() []contactsync.Outcome {
	if !a.applied {
		return nil
	}
	rows := make([]contactsync.Outcome, len(a.rows))
	for i := range rows {
		if a.rows[i].Verdict == contactsync.Delivered {
			rows[i].Verdict = contactsync.Delivered
		}
	}
	return rows
}

func allDelivered(n int) []contactsync.Outcome {
	rows := make([]contactsync.Outcome, n)
	for i := range rows {
		rows[i].Verdict = contactsync.Delivered
	}
	return rows
}

// outcomes turns a tally into one outcome per row. An answer tells about the rows, whatever its
// status, if it lists some as failed beside others as done, or all of them as failed and nothing else.
func (a *answerReader) outcomes(t *tally, rows []contactsync.Row, secrets *ours) answer {
	left := t.eliminated()
	ans := answer{rows: make([]contactsync.Outcome, len(rows)), mismatch: t.mismatch(left), ids: t.ids(left)}
	successes, failures := t.doubts(left)
	claimsAll := t.claimsAll()
	var failed, limited int
	said := map[string]contactsync.Outcome{} // by text: usually many rows share a few reasons
	for i := range rows {
		o, text := &ans.rows[i], t.texts[i]
		switch state := t.state(i); {
		case state == rowDone && !successes, left.row == i && left.done:
			o.Verdict = contactsync.Delivered
			continue
		case left.row == i:
			o.Verdict, text = contactsync.Failed, left.text
		case state == rowFailed && !failures:
			o.Verdict = contactsync.Failed
		}
		reason := text.String()
		if o.Verdict == contactsync.Failed {
			failed++
			// Words under names that are not configured may be no reason at all.
			o.Transient = a.transient.match(reason) || text.unnamed()
			if text.isRateLimit() && !rateLimitWords.Match(rows[i].Body) {
				limited++
			}
		}
		says, known := said[reason]
		if !known {
			says.Reason, says.Text = a.speaker.says(text, secrets)
			said[reason] = says
		}
		o.Reason, o.Text = says.Reason, says.Text
		if o.Verdict != contactsync.Failed {
			o.Reason = "the answer does not account for the row: " + ans.mismatch
			if claimsAll || t.state(i) != rowUnnamed {
				o.Verdict = contactsync.Contradicted
				o.Reason = "the answer contradicts itself about the row: " + ans.mismatch
			}
			if says.Reason != "" {
				o.Reason += "; it says of it: " + says.Reason
			}
		}
	}
	ans.applied = !successes && t.count(rowDone) > 0
	ans.tells = !failures && (ans.applied && t.count(rowFailed) > 0 || t.allFailed())
	ans.rateLimited = failed > 0 && limited == failed
	return ans
}
