package vendorapi

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// contact is one stored contact. Fields is a tree that is never changed, only replaced.
type contact struct {
	fields           map[string]any
	created, updated time.Time
	inactive         bool
}

// name is a contact's name in the store: an ObjectId knows no upper case.
type name struct{ stream, id string }

func nameOf(stream, id string) name { return name{stream, strings.ToLower(id)} }

// row is one element of a request's array.
type row struct {
	raw    json.RawMessage
	fields map[string]any // nil: it is not an object
	id     string         // as sent; empty: none
}

func parseRows(body []byte) ([]row, bool) {
	var raws []json.RawMessage
	if !utf8.Valid(body) || json.Unmarshal(body, &raws) != nil || raws == nil {
		return nil, false
	}
	rows := make([]row, len(raws))
	for i, raw := range raws {
		rows[i].raw = raw
		if json.Unmarshal(raw, &rows[i].fields) == nil {
			rows[i].id, _ = rows[i].fields["id"].(string)
		}
	}
	return rows, true
}

// failure is why one row was not applied.
type failure struct {
	why    string
	word   string // the same as one word
	status int    // that a request for this row alone would have
}

func invalid(why string) *failure { return &failure{why, "invalid", 400} }

var (
	objectID    = regexp.MustCompile(`^[0-9a-fA-F]{24}$`)
	digits      = regexp.MustCompile(`^[0-9]+$`)
	countryCode = regexp.MustCompile(`^\+[0-9]{1,3}$`)
	extension   = regexp.MustCompile(`^\+?[0-9]{0,4}$`)
	salutation  = regexp.MustCompile(`^(?i)mrs?\.?$`)
)

var (
	topMembers   = []string{"id", "firstName", "lastName", "salutation"}
	phoneMembers = []string{"phoneNumber", "countryCode", "extension"}
)

// check checks a row by itself, as the table "Body Parameters" has it.
func (u Unknowns) check(r row) *failure {
	if r.fields == nil {
		return invalid("contact should be an object")
	}
	if !objectID.MatchString(r.id) {
		return invalid("id is required and should be a valid ObjectId")
	}
	if why := u.checkMembers("", r.fields, topMembers, "cellPhone", "fullName"); why != "" {
		return invalid(why)
	}
	switch phone := r.fields["cellPhone"].(type) {
	case map[string]any:
		if why := u.checkMembers("cellPhone.", phone, phoneMembers); why != "" {
			return invalid(why)
		}
		return u.checkForms(r.fields, phone)
	case nil:
		_, there := r.fields["cellPhone"]
		if there && u.Nulls != NullsRefused || !there && u.OnlyID {
			return u.checkForms(r.fields, nil)
		}
	}
	return invalid("cellPhone is required and should be an object")
}

func (u Unknowns) checkMembers(path string, fields map[string]any, named []string, others ...string) string {
	for _, member := range named {
		if _, there := fields[member]; !there && !u.OnlyID {
			return path + member + " is required"
		}
	}
	for member, value := range fields {
		switch text, isText := value.(string); {
		case slices.Contains(named, member) || member == "fullName" && path == "":
			if value == nil && u.Nulls != NullsRefused {
				continue
			}
			if !isText {
				return path + member + " should be a string"
			}
			if u.MaxText > 0 && utf8.RuneCountInString(text) > u.MaxText {
				return path + member + " is too long"
			}
		case u.Unnamed == UnnamedRefused && !slices.Contains(others, member):
			return path + member + " is not allowed"
		}
	}
	return ""
}

func (u Unknowns) checkForms(fields, phone map[string]any) *failure {
	for _, f := range []struct {
		value any
		form  *regexp.Regexp
		why   string
	}{
		{phone["phoneNumber"], digits, "cellPhone.phoneNumber should have digits only"},
		{phone["countryCode"], countryCode, "cellPhone.countryCode is invalid"},
		{phone["extension"], extension, "cellPhone.extension is invalid"},
	} {
		if text, isText := f.value.(string); isText && !f.form.MatchString(text) {
			return invalid(f.why)
		}
	}
	if text, isText := fields["salutation"].(string); isText && u.Salutation && !salutation.MatchString(text) {
		return invalid("salutation should be Mr or Mrs")
	}
	return nil
}

// touch returns a contact, or nil if there is none. The caller holds the lock.
func (a *API) touch(n name, now time.Time) *contact {
	c := a.contacts[n]
	if c == nil && (a.cfg.Known == nil || a.cfg.Known(n.stream, n.id)) {
		c = &contact{fields: map[string]any{"firstName": "", "lastName": "", "salutation": ""}, created: now, updated: now}
		a.contacts[n] = c
	}
	return c
}

// apply applies a row that was checked. The caller holds the lock.
func (a *API) apply(stream string, r row, now time.Time) (state *contact, changed bool, failed *failure) {
	n := nameOf(stream, r.id)
	c := a.touch(n, now)
	switch {
	case c == nil:
		return nil, false, &failure{"Contact not found", "not_found", 404}
	case c.inactive:
		return nil, false, &failure{"Contact is inactive", "inactive", 400}
	}
	fields := a.cfg.change(c.fields, r.fields)
	if a.cfg.Phones {
		number := numberOf(fields)
		if owner, taken := a.numbers[name{stream, number}]; taken && owner != n {
			return nil, false, &failure{"Contact with the same phone number already exists", "duplicate_phone", 409}
		}
		delete(a.numbers, name{stream, numberOf(c.fields)})
		if number != "" {
			a.numbers[name{stream, number}] = n
		}
	}
	changed = !reflect.DeepEqual(fields, c.fields)
	next := &contact{fields: fields, created: c.created, updated: now}
	a.contacts[n] = next
	return next, changed, nil
}

// change returns what the fields of a contact are after a row.
func (u Unknowns) change(old, sent map[string]any) map[string]any {
	sent = maps.Clone(sent)
	delete(sent, "id")
	if u.Unnamed != UnnamedStored {
		maps.DeleteFunc(sent, func(m string, _ any) bool {
			return !slices.Contains(topMembers, m) && m != "fullName" && m != "cellPhone"
		})
		if phone, ok := sent["cellPhone"].(map[string]any); ok {
			phone = maps.Clone(phone)
			maps.DeleteFunc(phone, func(m string, _ any) bool { return !slices.Contains(phoneMembers, m) })
			sent["cellPhone"] = phone
		}
	}
	if u.Nulls == NullsIgnored {
		sent = withoutNulls(sent)
	}
	var next map[string]any
	switch u.Update {
	case Replace:
		next = mergePatch(map[string]any{}, sent)
	case MergePatch:
		next = mergePatch(old, sent)
	case SetTop:
		next = maps.Clone(old)
		maps.Copy(next, sent)
		next = withoutNulls(next)
	}
	if _, there := sent["fullName"]; !there {
		first, _ := next["firstName"].(string)
		last, _ := next["lastName"].(string)
		next["fullName"] = strings.TrimSpace(first + " " + last)
	}
	return next
}

// mergePatch is the function of RFC 7396, section 2.
func mergePatch(target any, patch map[string]any) map[string]any {
	old, _ := target.(map[string]any)
	next := make(map[string]any, len(old)+len(patch))
	maps.Copy(next, old)
	for member, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(next, member)
		case map[string]any:
			next[member] = mergePatch(next[member], value)
		default:
			next[member] = value
		}
	}
	return next
}

func withoutNulls(fields map[string]any) map[string]any {
	next := make(map[string]any, len(fields))
	for member, value := range fields {
		switch value := value.(type) {
		case nil:
		case map[string]any:
			next[member] = withoutNulls(value)
		default:
			next[member] = value
		}
	}
	return next
}

func numberOf(fields map[string]any) string {
	phone, _ := fields["cellPhone"].(map[string]any)
	number, _ := phone["phoneNumber"].(string)
	code, _ := phone["countryCode"].(string)
	if number == "" {
		return ""
	}
	return code + number
}
