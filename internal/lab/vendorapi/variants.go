package vendorapi

import (
	"net/http"
	"slices"
	"time"
)

// Variant is one plausible answer to a question that the page leaves open.
type Variant struct {
	Name     string
	Question string
	Set      func(*Config)
}

// Find returns the variant of a name.
func Find(name string) (Variant, bool) {
	all := Variants()
	i := slices.IndexFunc(all, func(v Variant) bool { return v.Name == name })
	if i < 0 {
		return Variant{}, false
	}
	return all[i], true
}

// Variants returns all of them, beginning with the plainest reading of the page.
func Variants() []Variant {
	unknown := func(set func(*Unknowns)) func(*Config) { return func(c *Config) { set(&c.Unknowns) } }
	failure := func(shape FailureShape) func(*Config) { return unknown(func(u *Unknowns) { u.Failure = shape }) }
	success := func(shape SuccessShape) func(*Config) { return unknown(func(u *Unknowns) { u.Success = shape }) }
	missing := func(way BadRow, status int) func(*Config) {
		return unknown(func(u *Unknowns) { u.Missing, u.WholeStatus = way, status })
	}
	rows := func(over OverRows) func(*Config) {
		return func(c *Config) { c.MaxRows, c.OverRows = 10, over }
	}
	budget := func(set func(*Budget)) func(*Config) {
		return func(c *Config) {
			c.Budget.Requests, c.Budget.Window = 40, time.Second // the sixty of a minute, made shorter
			set(&c.Budget)
		}
	}
	return []Variant{
		{"page", "the page, read plainly", func(*Config) {}},

		{"lower-case-ids", "how ids are echoed", unknown(func(u *Unknowns) { u.LowerIDs = true })},
		{"string-counters", "the type of the counters", unknown(func(u *Unknowns) { u.Counters = CountersStrings })},
		{"no-counters", "the type of the counters", unknown(func(u *Unknowns) { u.Counters = CountersAbsent })},
		{"reversed", "the order of the records", unknown(func(u *Unknowns) { u.Order = OrderReversed })},
		{"shuffled", "the order of the records", unknown(func(u *Unknowns) { u.Order = OrderShuffled })},
		{"null-lists", "an empty list", unknown(func(u *Unknowns) { u.Lists = ListsNull })},
		{"absent-lists", "an empty list", unknown(func(u *Unknowns) { u.Lists = ListsAbsent })},
		{"unchanged-unlisted", "a row that changes nothing", unknown(func(u *Unknowns) { u.Quiet = true })},

		{"success-id-only", "a successful record", success(SuccessIDOnly)},
		{"success-inner-id", "a successful record", success(SuccessInner)},
		{"success-flat", "a successful record", success(SuccessFlat)},
		{"success-bare-id", "a successful record", success(SuccessBareID)},

		{"failed-reason", "a failed record", failure(FailureReason)},
		{"failed-status", "a failed record", failure(FailureStatus)},
		{"failed-errors", "a failed record", failure(FailureErrors)},
		{"failed-contact", "a failed record", failure(FailureContact)},
		{"failed-index", "a failed record", failure(FailureIndex)},
		{"failed-null-id", "a failed record", failure(FailureNullID)},
		{"failed-mongo-id", "a failed record", failure(FailureMongoID)},
		{"failed-bare-id", "a failed record", failure(FailureBareID)},
		{"failed-id-only", "a failed record", failure(FailureIDOnly)},
		{"failed-sentence", "a failed record", failure(FailureSentence)},

		{"partial-207", "the status if rows failed", unknown(func(u *Unknowns) { u.PartialStatus, u.FailedStatus = 207, 207 })},
		{"failed-400", "the status if rows failed", unknown(func(u *Unknowns) { u.FailedStatus = 400 })},
		{"partial-400", "the status if rows failed", unknown(func(u *Unknowns) { u.PartialStatus, u.FailedStatus = 400, 400 })},
		{"partial-429", "the status if rows failed", unknown(func(u *Unknowns) { u.PartialStatus = 429 })},
		{"whole-400", "a bad row", missing(Whole, http.StatusBadRequest)},
		{"whole-412", "a bad row", missing(Whole, http.StatusPreconditionFailed)},
		{"whole-422", "a bad row", missing(Whole, http.StatusUnprocessableEntity)},
		{"whole-404", "a bad row", missing(Whole, http.StatusNotFound)},
		{"whole-500", "a bad row", missing(Crash, 0)},
		{"abort-at-bad-row", "a bad row", missing(Abort, 0)},
		{"silent-bad-row", "a bad row", missing(Silent, 0)},

		{"merge-patch", "what a row does", unknown(func(u *Unknowns) { u.Update, u.OnlyID, u.Nulls = MergePatch, true, NullsClear })},
		{"set-members", "what a row does", unknown(func(u *Unknowns) { u.Update, u.OnlyID, u.Nulls = SetTop, true, NullsClear })},
		{"unnamed-stored", "members without a name on the page", unknown(func(u *Unknowns) { u.Unnamed = UnnamedStored })},
		{"duplicates-refused", "a contact twice in a request", unknown(func(u *Unknowns) { u.Duplicates = DuplicatesRefused })},

		{"unique-phones", "a number that another contact has", unknown(func(u *Unknowns) { u.Phones = true })},
		{"long-text-refused", "the length of a member", unknown(func(u *Unknowns) { u.MaxText = 64 })},

		{"rolling-429", "the rate limit", budget(func(*Budget) {})},
		{"rolling-429-seconds", "the rate limit", budget(func(b *Budget) { b.RetryAfter = RetryAfterSeconds })},
		{"fixed-429-date", "the rate limit", budget(func(b *Budget) { b.Kind, b.RetryAfter = Fixed, RetryAfterDate })},
		{"paced-429", "the rate limit", budget(func(b *Budget) { b.Kind = Paced })},
		{"paced-429-seconds", "the rate limit", budget(func(b *Budget) { b.Kind, b.RetryAfter = Paced, RetryAfterSeconds })},
		{"paced-400-text", "the rate limit", budget(func(b *Budget) { b.Kind, b.Status, b.PlainText = Paced, 400, true })},
		{"paced-200-text", "the rate limit", budget(func(b *Budget) { b.Kind, b.Status, b.PlainText = Paced, 200, true })},
		{"paced-403", "the rate limit", budget(func(b *Budget) { b.Kind, b.Status = Paced, 403 })},
		{"paced-503", "the rate limit", budget(func(b *Budget) { b.Kind, b.Status = Paced, 503 })},

		{"rows-413", "the largest request", rows(OverRows413)},
		{"rows-400", "the largest request", rows(OverRows400)},
		{"rows-truncated", "the largest request", rows(OverRowsTruncate)},
		{"rows-reset", "the largest request", rows(OverRowsReset)},
		{"bytes-413", "the largest request", func(c *Config) { c.MaxBytes = 4 << 10 }},
		{"rows-504", "the largest request", func(c *Config) { c.PerRow, c.GatewayTimeout = 10*time.Millisecond, 150*time.Millisecond }},
	}
}
