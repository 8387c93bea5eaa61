package vendorapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reply is an answer before it is written.
type reply struct {
	status     int
	kind       string // Content-Type; empty: JSON
	retryAfter string
	headers    map[string]string // that a rule adds
	body       []byte
}

func jsonReply(status int, body any) *reply {
	text, err := json.Marshal(body)
	if err != nil {
		panic("BUG: an answer that is no JSON: " + err.Error())
	}
	return &reply{status: status, body: text}
}

// errorsReply is the shape of errors that was seen most often.
func errorsReply(status int, text string, code int) *reply {
	return jsonReply(status, map[string]any{"errors": []any{map[string]any{"msg": text, "code": code}}})
}

// refused is a request that is refused as a whole for a bad row.
func (u Unknowns) refused(why string) *reply {
	status := cmp.Or(u.WholeStatus, http.StatusPreconditionFailed)
	text := "Validation errors/ Invalid arguments"
	if why != "" {
		text += ": " + why
	}
	return errorsReply(status, text, status)
}

func html(status int, title string) *reply {
	return &reply{status: status, kind: "text/html; charset=utf-8", body: fmt.Appendf(nil,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>%[1]s</title>\n</head>\n<body>\n<pre>%[1]s</pre>\n</body>\n</html>\n", title)}
}

// outcome is what became of one row.
type outcome struct {
	index   int
	row     row
	state   *contact // after it; nil: not applied
	changed bool
	failed  *failure // nil and no state: in neither list; with a state: in both
}

// answer answers a request whose rows were worked on.
func (a *API) answer(stream, account string, requested int, outcomes []outcome) *reply {
	u := a.cfg.Unknowns
	good, bad := []any{}, []any{}
	quiet := 0
	for _, o := range u.ordered(outcomes) {
		switch {
		case o.failed != nil:
			if o.state != nil {
				good = append(good, u.success(stream, account, o))
			}
			bad = append(bad, u.failure(o))
		case o.state != nil && u.Quiet && !o.changed:
			quiet++
		case o.state != nil:
			good = append(good, u.success(stream, account, o))
		}
	}
	body := make(map[string]any)
	for member, n := range map[string]int{"totalRequested": requested, "successful": len(good) + quiet, "failed": len(bad)} {
		switch u.Counters {
		case CountersNumbers:
			body[member] = n
		case CountersStrings:
			body[member] = strconv.Itoa(n)
		case CountersAbsent:
		}
	}
	for member, list := range map[string][]any{"successfulRecords": good, "failedRecords": bad} {
		switch {
		case len(list) > 0 || u.Lists == ListsEmpty:
			body[member] = list
		case u.Lists == ListsNull:
			body[member] = nil
		}
	}
	status := http.StatusOK
	switch {
	case len(bad) > 0 && len(good)+quiet == 0:
		status = cmp.Or(u.FailedStatus, status)
	case len(bad) > 0:
		status = cmp.Or(u.PartialStatus, status)
	}
	return jsonReply(status, body)
}

func (u Unknowns) ordered(outcomes []outcome) []outcome {
	outcomes = slices.Clone(outcomes)
	if u.Duplicates == DuplicatesOnce {
		last := make(map[string]int)
		for i, o := range outcomes {
			last[strings.ToLower(o.row.id)] = i
		}
		at := -1
		outcomes = slices.DeleteFunc(outcomes, func(o outcome) bool {
			at++
			return o.row.id != "" && last[strings.ToLower(o.row.id)] != at
		})
	}
	switch u.Order {
	case OrderAsSent:
	case OrderReversed:
		slices.Reverse(outcomes)
	case OrderShuffled:
		h := fnv.New64()
		for _, o := range outcomes {
			h.Write([]byte(o.row.id))
		}
		r := rand.New(rand.NewPCG(h.Sum64(), 0))
		r.Shuffle(len(outcomes), func(i, j int) { outcomes[i], outcomes[j] = outcomes[j], outcomes[i] })
	}
	return outcomes
}

func (u Unknowns) echo(id string) string {
	if u.LowerIDs {
		return strings.ToLower(id)
	}
	return id
}

func (u Unknowns) success(stream, account string, o outcome) any {
	id := u.echo(o.row.id)
	contact := o.state.shown(stream, account)
	switch u.Success {
	case SuccessIDOnly:
		return map[string]any{"id": id}
	case SuccessInner:
		contact["_id"] = id
		return map[string]any{"contact": contact}
	case SuccessFlat:
		contact["id"] = id
		return contact
	case SuccessBareID:
		return id
	case SuccessPage:
	}
	contact["_id"] = id
	return map[string]any{"id": id, "contact": contact}
}

// shown is a contact as the page shows it: the country code goes before the number.
func (c *contact) shown(stream, account string) map[string]any {
	const layout = "2006-01-02T15:04:05.000Z"
	user, application := "u-cc6ebd6c-656c-5364-abfc-ad5f80e00000", "a-6c63a33f-c2a7-49e8-a5ab-82449c800000"
	shown := maps.Clone(c.fields)
	if phone, ok := shown["cellPhone"].(map[string]any); ok {
		phone = maps.Clone(phone)
		phone["phoneNumber"] = numberOf(c.fields)
		shown["cellPhone"] = phone
	}
	maps.Copy(shown, map[string]any{
		"status": "ACTIVE", "instanceBotId": stream, "orgId": "o-16ff21d2-5d27-5fb2-b9bd-9fedb5f00000", "accountId": account,
		"createdBy": user, "createdByAId": application, "updatedBy": user, "updatedByAId": application,
		"address": []any{}, "twitterDetails": []any{},
		"createdAt": c.created.UTC().Format(layout), "updatedAt": c.updated.UTC().Format(layout),
	})
	return shown
}

func (u Unknowns) failure(o outcome) any {
	id, f := u.echo(o.row.id), o.failed
	switch u.Failure {
	case FailureReason:
		return map[string]any{"id": id, "reason": map[string]any{
			"statusCode": f.status, "status": f.status, "customCode": f.status,
			"errors":  []any{map[string]any{"msg": f.why, "code": f.status}},
			"message": f.why, "name": "BadRequest",
		}}
	case FailureStatus:
		return map[string]any{"id": id, "status": "failed", "reason": f.word}
	case FailureErrors:
		return map[string]any{"id": id, "errors": []any{map[string]any{"message": f.why, "code": f.status}}}
	case FailureContact:
		contact := maps.Clone(o.row.fields)
		delete(contact, "id")
		if contact == nil {
			contact = make(map[string]any)
		}
		contact["_id"] = id
		return map[string]any{"contact": contact, "errorMessage": f.why}
	case FailureIndex:
		return map[string]any{"index": o.index, "errorMessage": f.why}
	case FailureNullID:
		return map[string]any{"id": nil, "error": f.why}
	case FailureMongoID:
		return map[string]any{"_id": id, "message": f.why}
	case FailureBareID:
		return id
	case FailureIDOnly:
		return map[string]any{"id": id}
	case FailureSentence:
		return "Contact " + id + " could not be updated: " + f.why
	case FailureError:
	}
	return map[string]any{"id": id, "error": f.why}
}

// write writes an answer; part < 1 cuts it there.
func (r *reply) write(w http.ResponseWriter, part float64, last bool) {
	h := w.Header()
	h.Set("Content-Type", cmp.Or(r.kind, "application/json; charset=utf-8"))
	h.Set("Content-Length", strconv.Itoa(len(r.body)))
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if r.retryAfter != "" {
		h.Set("Retry-After", r.retryAfter)
	}
	for name, value := range r.headers {
		h.Set(name, value)
	}
	if last {
		h.Set("Connection", "close")
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body[:int(part*float64(len(r.body)))]) // the client may be gone
	_ = http.NewResponseController(w).Flush()
}
