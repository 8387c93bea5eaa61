package batcher

import (
	"log/slog"

	"github.com/contactsync/contactsync"
)

// Decision is one line of the policy: what an answer leads to for its request as a
// whole. What a kind of answer means is upstream's table; docs/answers.md is printed
// from both.
type Decision struct {
	Kind contactsync.Kind
	When string // to which answers of the kind it applies; empty for all others
	Then string

	match func(answer) bool // nil for all

	rows treatment
	// reason is that of the dead letter of a row that is refused.
	reason contactsync.Reason
	// rowsAnswered: the API has looked at the rows, so the stream's credentials and
	// name are good, and the account works.
	rowsAnswered bool
	// size says whether requests of this size are taken.
	size sizeAnswer
	// hold is the kind of hold that the stream is put on; noHold for none.
	hold holdKind
	// credentialsRefused: the next such answer in a row puts the stream on hold.
	credentialsRefused bool
	// suspects: one of the rows may be the cause, if others are answered meanwhile.
	suspects bool
	// backOff: the stream waits before its next request, longer each time.
	backOff bool
	// outcomeUnknown: where there was any answer the rows may have been applied.
	outcomeUnknown bool
	// failure: it counts as a failure of each row.
	failure bool
	// outage: the log says at this level that requests are not answered.
	outage bool
	level  slog.Level
}

// answer is what a decision depends on.
type answer struct {
	kind contactsync.Kind
	// single: the request had one row.
	single bool
	// warned: the API refused the stream's credentials before the request was made as
	// well, or the account is on hold.
	warned bool
	// trial: the request was larger than any that passed, and that may be the cause.
	trial bool
	// contradicts: it settles no row and contradicts itself.
	contradicts bool
	// refusesAll: it accepts none of several rows, and some would be refused.
	refusesAll bool
	// searched: its rows are searched for the one for which requests are refused as a whole.
	searched bool
	// alike: so it did for other contacts that were sent alone, or the stream is on hold.
	alike bool
	// applied: rows are listed as applied, although the request was refused.
	applied bool
	// suspected: its rows are tried apart because they make requests fail, and others of their stream were answered lately.
	suspected bool
	// blame is what the answer may be about, if it says that the API does not know the stream.
	blame blame
}

// blame is what may be the cause of an answer that is about the stream by its words.
type blame uint8

const (
	blameStream blame = iota
	blameRows         // one of the rows
	blameRow          // the only row
)

// treatment is what happens to the rows of a request.
type treatment uint8

const (
	keepRows    treatment = iota // all are sent again
	settleEach                   // each by its own outcome
	refuseOnly                   // the only one is refused
	halveInTurn                  // two halves are sent, the second when the first is answered
	halveBoth                    // two halves are sent
	keepAlone                    // the only one is sent again, apart from all others
)

// sizeAnswer is what an answer says of a request's size.
type sizeAnswer uint8

const (
	sizeUnknown sizeAnswer = iota
	sizeFits
	sizeTooLarge
)

func single(a answer) bool    { return a.single }
func notWarned(a answer) bool { return !a.warned }
func isTrial(a answer) bool   { return a.trial }

func isSuspected(a answer) bool { return a.suspected }

func hasApplied(a answer) bool { return a.applied }

// thenKept is what happens to rows that may make requests fail; see suspicion.go.
const thenKept = "kept and retried with growing delays; where a row may be the cause, with fewer rows each time, and a row that fails alone " +
	"again and again while others of its stream are answered is refused at last (`unanswered_attempts`, `unanswered_after`)"

const (
	whenTrial = "more rows or bytes than ever passed"
	thenTrial = "kept, and smaller requests are sent again"
)

const thenHalved = "split in two and retried, down to the bad row, the second half when the first is answered"

const thenThrottled = "kept, while the account waits as long as asked and then sends fewer requests"

const thenProbed = "kept, while the stream is put on hold and probed with growing delays, one row at a time, another one each time"

// policy is the decisions. Of a kind the first line that fits counts.
var policy = []Decision{
	{
		Kind: contactsync.Answered, When: "contradicts itself and settles none, of three single rows in a row, or on hold",
		Then: "kept, while the account is put on hold as `contract` and probed with growing delays, one row at a time, another one each time", match: func(a answer) bool { return a.contradicts && a.alike },
		rows: keepRows, hold: holdContract, outcomeUnknown: true, failure: true,
	},
	{
		Kind: contactsync.Answered, When: "contradicts itself and settles none of several rows", Then: "split in two and retried, down to the rows for which it does alone", match: func(a answer) bool { return a.contradicts && !a.single },
		rows: halveInTurn, outcomeUnknown: true, failure: true,
	},
	{
		Kind: contactsync.Answered, When: "contradicts itself about one row", Then: "kept and retried alone with growing delays", match: func(a answer) bool { return a.contradicts },
		rows: keepAlone, outcomeUnknown: true, failure: true,
	},
	{
		Kind: contactsync.Answered, When: "accepts none of several rows, and would have one refused that was not refused beside accepted ones before", Then: thenHalved, match: func(a answer) bool { return a.refusesAll },
		rows: halveInTurn, rowsAnswered: true, size: sizeFits, failure: true,
	},
	{
		Kind: contactsync.Answered, When: "otherwise", Then: "each row is settled as the answer says, see below",
		rows: settleEach, rowsAnswered: true, size: sizeFits,
	},

	{
		Kind: contactsync.BadRequest, When: "one row", Then: "refused, see below", match: single,
		rows: refuseOnly, reason: contactsync.ReasonBadRequest, rowsAnswered: true, size: sizeFits, failure: true,
	},
	{
		Kind: contactsync.BadRequest, When: "several rows", Then: thenHalved,
		rows: halveInTurn, rowsAnswered: true, size: sizeFits, failure: true,
	},
	{
		Kind: contactsync.TooLarge, When: "one row", Then: "refused, see below", match: single,
		rows: refuseOnly, reason: contactsync.ReasonTooLarge, rowsAnswered: true, size: sizeTooLarge, failure: true,
	},
	{
		Kind: contactsync.TooLarge, When: whenTrial, Then: thenTrial, match: isTrial,
		rows: keepRows, rowsAnswered: true, size: sizeTooLarge, failure: true,
	},
	{
		Kind: contactsync.TooLarge, When: "several rows of a request that was refused as a whole", Then: thenHalved, match: func(a answer) bool { return a.searched },
		rows: halveInTurn, rowsAnswered: true, size: sizeTooLarge, failure: true,
	},
	{
		Kind: contactsync.TooLarge, When: "several rows", Then: "both halves are retried, and if both pass, the account's requests get smaller",
		rows: halveBoth, rowsAnswered: true, size: sizeTooLarge, failure: true,
	},

	{
		Kind: contactsync.Unauthorized, When: "rows that are tried apart, while others of their stream are accepted", Then: "kept and retried with growing delays, in halves, and then alone", match: isSuspected,
		rows: keepRows, suspects: true, failure: true,
	},
	{
		Kind: contactsync.Unauthorized, When: "the first time", Then: "kept and retried once with a new token", match: notWarned,
		rows: keepRows, credentialsRefused: true, suspects: true, failure: true,
	},
	{
		Kind: contactsync.Unauthorized, When: "again, or while the account is on hold", Then: thenProbed,
		rows: keepRows, hold: holdUnauthorized, credentialsRefused: true, suspects: true, failure: true,
	},
	{
		Kind: contactsync.StreamGone, When: "several rows of a stream that was accepted before and is not on hold", Then: "split in two and retried, down to the rows that are refused alone", match: func(a answer) bool { return a.blame == blameRows },
		rows: halveInTurn, failure: true,
	},
	{
		Kind: contactsync.StreamGone, When: "one row of these, until three are refused alike while none is accepted", Then: "kept and retried alone with growing delays", match: func(a answer) bool { return a.blame == blameRow },
		rows: keepAlone, failure: true,
	},
	{
		Kind: contactsync.StreamGone, When: "otherwise", Then: thenProbed,
		rows: keepRows, hold: holdGone, suspects: true, failure: true,
	},

	{
		Kind: contactsync.Throttled, When: "with rows that it lists as applied", Then: "these are settled; the others are " + thenThrottled, match: hasApplied,
		rows: keepRows, rowsAnswered: true, failure: true, outage: true, level: slog.LevelWarn,
	},
	{
		Kind: contactsync.Throttled, When: "otherwise", Then: thenThrottled + "; rows that are throttled each time while other requests of the account are answered are taken for unavailable",
		rows: keepRows, failure: true, outage: true, level: slog.LevelWarn,
	},
	{
		Kind: contactsync.Unavailable, When: whenTrial, Then: thenTrial, match: isTrial,
		rows: keepRows, size: sizeTooLarge, outcomeUnknown: true, failure: true,
	},
	{
		Kind: contactsync.Unavailable, When: "otherwise", Then: thenKept,
		rows: keepRows, suspects: true, backOff: true, outcomeUnknown: true, failure: true, outage: true, level: slog.LevelWarn,
	},
	{
		Kind: contactsync.Unknown, When: whenTrial, Then: thenTrial, match: isTrial,
		rows: keepRows, size: sizeTooLarge, outcomeUnknown: true, failure: true,
	},
	{
		Kind: contactsync.Unknown, When: "otherwise", Then: thenKept + "; and reported",
		rows: keepRows, suspects: true, backOff: true, outcomeUnknown: true, failure: true, outage: true, level: slog.LevelError, // it does not pass by itself
	},

	{Kind: contactsync.Canceled, Then: "kept; left to the next owner where the partition is handed over", rows: keepRows},
}

// decide returns what an answer leads to. A kind that is not known is handled as
// contactsync.Unknown.
func decide(a answer) *Decision {
	for i := range policy {
		if d := &policy[i]; d.Kind == a.kind && (d.match == nil || d.match(a)) {
			return d
		}
	}
	a.kind = contactsync.Unknown
	return decide(a)
}

// Policy lists what answers lead to, by their kinds, for a person.
func Policy() []Decision { return policy }

// RowDecision is one line of the policy for a row: what the outcome that an answer
// gives it leads to.
type RowDecision struct {
	When string
	Then string

	match  func(o contactsync.Outcome, c circumstances) bool
	action rowAction
	reason contactsync.Reason // of the dead letter, where the row is refused
}

// circumstances is what the decision about a row depends on beside its outcome.
type circumstances struct {
	last   bool // no answer may leave it open after this one
	others bool // other rows of the request were accepted
}

// rowAction is what happens to a row.
type rowAction uint8

const (
	rowRetried   rowAction = iota // it is sent again, apart from the rows that were settled
	rowDelivered                  // its events end
	rowRefused                    // it becomes a dead letter, or is kept where these are too many
	rowOnceMore                   // it is sent again with the others that were refused
)

const thenRefused = "refused: it becomes a dead letter, where it is alone not before others of its account are accepted, or nothing is for a minute; " +
	"over the dead-letter budget, or as the third contact in a row of which none of its stream is accepted (a later one where many of its rows are bad), it is kept, and the stream is put on hold as `rejecting`"

// rowPolicy is the decisions for rows. The first line that fits counts.
var rowPolicy = []RowDecision{
	{
		When: "accepted", Then: "its events end as delivered",
		match:  func(o contactsync.Outcome, _ circumstances) bool { return o.Verdict == contactsync.Delivered },
		action: rowDelivered,
	},
	{
		When: "rejected for a reason that is not transient, while others of the request were accepted",
		Then: "sent once more with the other rows of which this is true, in reverse, because a row can be refused for what another one changes: a number that it still has",
		match: func(o contactsync.Outcome, c circumstances) bool {
			return rejected(o) && c.others
		},
		action: rowOnceMore,
	},
	{
		When: "rejected for a reason that is not transient", Then: thenRefused,
		match:  func(o contactsync.Outcome, _ circumstances) bool { return rejected(o) },
		action: rowRefused, reason: contactsync.ReasonRejected,
	},
	{
		When: "rejected without a reason or for a transient one, by the last of `row_attempts` answers", Then: thenRefused,
		match:  func(o contactsync.Outcome, c circumstances) bool { return o.Verdict == contactsync.Failed && c.last },
		action: rowRefused, reason: contactsync.ReasonRejected,
	},
	{
		When: "rejected without a reason or for a transient one, before that", Then: "retried after a growing delay, apart from the other rows of its stream",
		match:  func(o contactsync.Outcome, _ circumstances) bool { return o.Verdict == contactsync.Failed },
		action: rowRetried,
	},
	{
		When: "contradicted by the answer itself", Then: "retried after a growing delay, apart from the other rows of its stream, however often",
		match:  func(o contactsync.Outcome, _ circumstances) bool { return contradicted(o) },
		action: rowRetried,
	},
	{
		When: "not accounted for, by the last of `row_attempts` answers", Then: thenRefused,
		match:  func(_ contactsync.Outcome, c circumstances) bool { return c.last },
		action: rowRefused, reason: contactsync.ReasonUnresolved,
	},
	{
		When: "not accounted for, before that", Then: "retried after a growing delay, apart from the other rows of its stream",
		match:  func(contactsync.Outcome, circumstances) bool { return true },
		action: rowRetried,
	},
}

// rejected reports whether the API refuses a row for good.
func rejected(o contactsync.Outcome) bool {
	return o.Verdict == contactsync.Failed && o.Reason != "" && !o.Transient
}

// decideRow returns what the outcome that an answer gives one row leads to.
func decideRow(o contactsync.Outcome, c circumstances) *RowDecision {
	for i := range rowPolicy {
		if rd := &rowPolicy[i]; rd.match(o, c) {
			return rd
		}
	}
	return &rowPolicy[len(rowPolicy)-1] // which fits everything
}

// RowPolicy lists what the outcomes of rows lead to, for a person.
func RowPolicy() []RowDecision { return rowPolicy }
