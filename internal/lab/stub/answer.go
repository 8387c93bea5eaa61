package stub

import (
	"bytes"
	"fmt"
	"strconv"
)

// The read-only members that the vendor's page shows, so that an answer has its
// true size of about 740 bytes a contact.
const (
	echoTail1 = `},"status":"ACTIVE","instanceBotId":"`
	echoTail2 = `","orgId":"o-16ff21d2-5d27-5fb2-b9bd-9fedb5f0a1b2","accountId":"`
	echoTail3 = `","createdBy":"u-cc6ebd6c-656c-5364-abfc-ad5f80e0a1b2","createdByAId":"a-6c63a33-c2a7-49e8-a5ab-82449c80a1b2",` +
		`"address":[],"twitterDetails":[],"createdAt":"2026-01-12T08:22:56.321Z","updatedAt":"2026-01-12T09:55:04.840Z",` +
		`"updatedBy":"u-cc6ebd6c-656c-5364-abfc-ad5f80e0a1b2","updatedByAId":"a-6c63a33-c2a7-49e8-a5ab-82449c80a1b2"}}`
	defaultReason = "contact is not allowed to be updated"
)

// answer appends the API's answer to out.
func (c *call) answer(out []byte, terse bool, effects *rule) []byte {
	var w Rows
	var twice, omit, both, drop globs
	if effects != nil && effects.Rows != nil {
		w, twice, omit, both, drop = *effects.Rows, effects.twice, effects.omit, effects.both, effects.drop
	}
	good, bad := 0, 0
	for i := range c.rows {
		switch {
		case drop.match(c.rows[i].id):
		case !c.rows[i].applied:
			bad++
		case !omit.match(c.rows[i].id):
			good++
		}
	}
	out = append(out, `{"totalRequested":`...)
	out = strconv.AppendInt(out, int64(len(c.rows)), 10)
	out = append(out, `,"successful":`...)
	out = strconv.AppendInt(out, int64(good), 10)
	out = append(out, `,"failed":`...)
	out = strconv.AppendInt(out, int64(bad), 10)
	if w.NoRecords {
		return append(out, `,"successfulRecords":[],"failedRecords":[]}`...)
	}
	out = append(out, `,"successfulRecords":[`...)
	from := len(out)
	for i := range c.rows {
		r := &c.rows[i]
		if w.Reversed {
			r = &c.rows[len(c.rows)-1-i]
		}
		if !r.applied || omit.match(r.id) {
			continue
		}
		out = c.appendSuccess(out, r, terse)
		if twice.match(r.id) {
			out = c.appendSuccess(out, r, terse)
		}
	}
	for n := range w.Unknown {
		out = c.appendSuccess(out, &row{id: fmt.Appendf(nil, "%024x", n)}, terse)
	}
	out = append(trimComma(out, from), `],"failedRecords":[`...)
	from = len(out)
	for i := range c.rows {
		if r := &c.rows[i]; (!r.applied || both.match(r.id)) && !drop.match(r.id) {
			out = append(appendFailure(out, r, w), ',')
		}
	}
	return append(trimComma(out, from), `]}`...)
}

func trimComma(out []byte, from int) []byte {
	if len(out) > from {
		return out[:len(out)-1]
	}
	return out
}

func (c *call) appendSuccess(b []byte, r *row, terse bool) []byte {
	b = append(b, `{"id":`...)
	b = appendText(b, r.id)
	if terse {
		return append(b, "},"...)
	}
	b = append(b, `,"contact":{"_id":`...)
	b = appendText(b, r.id)
	b = appendEcho(b, `,"firstName":`, r.first)
	b = appendEcho(b, `,"lastName":`, r.last)
	b = append(b, `,"fullName":`...)
	if len(r.full) > 0 {
		b = append(b, r.full...)
	} else { // the API derives it
		b = append(append(b, '"'), trimQuotes(r.first)...)
		b = append(append(b, ' '), trimQuotes(r.last)...)
		b = append(b, '"')
	}
	b = appendEcho(b, `,"salutation":`, r.title)
	b = appendEcho(b, `,"cellPhone":{"extension":`, r.ext)
	b = append(b, `,"phoneNumber":"`...) // the API puts the country code before the number
	b = append(b, trimQuotes(r.country)...)
	b = append(b, trimQuotes(r.phone)...)
	b = appendEcho(b, `","countryCode":`, r.country)
	b = append(append(b, echoTail1...), c.stream...)
	b = append(append(b, echoTail2...), c.account...)
	return append(append(b, echoTail3...), ',')
}

func appendEcho(b []byte, name string, v []byte) []byte {
	b = append(b, name...)
	if len(v) == 0 {
		return append(b, `""`...)
	}
	return append(b, v...)
}

// trimQuotes takes the quotes of a text away, and nothing of another value.
func trimQuotes(v []byte) []byte {
	if len(v) < 2 || v[0] != '"' {
		return nil
	}
	return v[1 : len(v)-1]
}

func appendFailure(b []byte, r *row, w Rows) []byte {
	id := appendText(nil, r.id)
	if w.IDAs == "string" {
		return append(b, id...)
	}
	b = append(b, '{')
	switch w.IDAs {
	case "", "id", "_id", "contactId":
		name := w.IDAs
		if name == "" {
			name = "id"
		}
		b = fmt.Appendf(b, `%q:%s,`, name, id)
	case "contact.id":
		b = fmt.Appendf(b, `"contact":{"id":%s},`, id)
	case "contact._id":
		b = fmt.Appendf(b, `"contact":{"_id":%s},`, id)
	}
	reason := w.Reason
	if reason == "" {
		reason = defaultReason
	}
	text := appendText(nil, reason)
	switch w.ReasonAs {
	case "", "reason", "error", "message", "msg":
		name := w.ReasonAs
		if name == "" {
			name = "reason"
		}
		b = fmt.Appendf(b, `%q:%s`, name, text)
	case "object":
		b = fmt.Appendf(b, `"error":{"message":%s,"code":400}`, text)
	case "errors":
		b = fmt.Appendf(b, `"errors":[{"msg":%s,"code":400}]`, text)
	case "none":
		b = bytes.TrimSuffix(b, []byte(","))
	}
	return append(b, '}')
}
