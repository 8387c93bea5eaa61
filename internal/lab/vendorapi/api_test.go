package vendorapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAPI_AnswersAsThePageShows(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	got := c.put("[" + one(john, "john", "2445612345") + "," + one(jane, "jane", "2445671234") + "]")
	if got.status != 200 || got.body.TotalRequested != 2.0 || got.body.Successful != 2.0 || got.body.Failed != 0.0 {
		t.Fatalf("%+v", got)
	}
	record := got.body.SuccessfulRecords[0].(map[string]any)
	contact := record["contact"].(map[string]any)
	if record["id"] != john || contact["_id"] != john || contact["fullName"] != "john doe" || contact["instanceBotId"] != stream || contact["accountId"] != "account" {
		t.Errorf("record %v", record)
	}
	if phone := contact["cellPhone"].(map[string]any); phone["phoneNumber"] != "+912445612345" || phone["countryCode"] != "+91" {
		t.Errorf("the number is answered with its country code: %v", phone)
	}
	for member := range strings.FieldsSeq("_id firstName lastName fullName salutation cellPhone status instanceBotId orgId accountId createdBy createdByAId address twitterDetails createdAt updatedAt updatedBy updatedByAId") {
		if _, there := contact[member]; !there {
			t.Errorf("no member %s", member)
		}
	}
	if !strings.Contains(got.text, `"failedRecords":[]`) {
		t.Errorf("no empty list: %s", got.text)
	}
	stored, _ := c.api.Contact(stream, john)
	if stored["firstName"] != "john" {
		t.Errorf("stored %v", stored)
	}
	c.wantComplaints()
}

func TestAPI_RefusesARequestThatThePageDoesNotAllow(t *testing.T) {
	t.Parallel()
	row := "[" + one(john, "john", "1") + "]"
	for name, tc := range map[string]struct {
		change func(*http.Request)
		body   string
		status int
		text   string
	}{
		"method":        {func(r *http.Request) { r.Method = http.MethodPost }, row, 405, "Method Not Allowed"},
		"path":          {func(r *http.Request) { r.URL.Path += "/" }, row, 404, "Cannot PUT"},
		"content type":  {func(r *http.Request) { r.Header.Del("Content-Type") }, row, 412, "Validation errors"},
		"encoding":      {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, row, 415, "encoding"},
		"object":        {nil, `{"contacts":[]}`, 412, "Validation errors"},
		"null":          {nil, `null`, 412, "Validation errors"},
		"empty":         {nil, `[]`, 412, "Validation errors"},
		"no JSON":       {nil, `[{]`, 412, "Validation errors"},
		"no UTF-8":      {nil, "[\"\xff\"]", 412, "Validation errors"},
		"a second body": {nil, row + row, 412, "Validation errors"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, Config{})
			r := c.request(tc.body)
			if tc.change != nil {
				tc.change(r)
			}
			if got := c.do(r); got.status != tc.status || !strings.Contains(got.text, tc.text) {
				t.Errorf("%d %s, want %d %s", got.status, got.text, tc.status, tc.text)
			}
			c.wantComplaints(BadRequest)
		})
	}
}

func TestAPI_FailsBadRowsAlone(t *testing.T) {
	t.Parallel()
	good := one(jane, "jane", "2")
	for name, row := range map[string]string{
		"no object":      `"x"`,
		"no id":          strings.Replace(one(john, "j", "1"), "id", "ID", 1),
		"bad id":         one("6964", "j", "1"),
		"number":         strings.Replace(one(john, "j", "1"), `"j"`, `7`, 1),
		"null":           strings.Replace(one(john, "j", "1"), `"j"`, `null`, 1),
		"absent":         strings.Replace(one(john, "j", "1"), `"salutation":"mr",`, ``, 1),
		"phone absent":   `{"id":"` + john + `","firstName":"j","lastName":"d","salutation":"mr"}`,
		"phone a string": `{"id":"` + john + `","firstName":"j","lastName":"d","salutation":"mr","cellPhone":"1"}`,
		"letters":        one(john, "j", "12a"),
		"E.164":          one(john, "j", "+911"),
		"too long":       one(john, strings.Repeat("ä", 51), "1"),
		"unnamed":        strings.Replace(one(john, "j", "1"), `{`, `{"email":"x",`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, Config{Unknowns: Unknowns{MaxText: 50, Unnamed: UnnamedRefused}})
			got := c.put("[" + row + "," + good + "]")
			if got.status != 200 || got.body.Failed != 1.0 || got.body.Successful != 1.0 || len(got.body.FailedRecords) != 1 {
				t.Errorf("%d %s", got.status, got.text)
			}
			if log := c.api.Log(); len(log.Changes) != 1 || log.Changes[0].ID != jane {
				t.Errorf("applied %+v", log.Changes)
			}
		})
	}
}

func TestAPI_BadRowVariants(t *testing.T) {
	t.Parallel()
	body := "[" + one(john, "john", "1") + "," + one("bad0af60450340957c6aaaaa", "x", "2") + "," + one(jane, "jane", "3") + "]"
	known := func(_, id string) bool { return !strings.HasPrefix(id, "bad0") }
	for _, tc := range []struct {
		way     BadRow
		status  int
		applied int
		failed  int
	}{{Listed, 200, 2, 1}, {Whole, 412, 0, 0}, {Abort, 412, 1, 0}, {Silent, 200, 2, 0}, {Crash, 500, 0, 0}} {
		c := start(t, Config{Known: known, Unknowns: Unknowns{Missing: tc.way}})
		got := c.put(body)
		if log := c.api.Log(); got.status != tc.status || len(log.Changes) != tc.applied || len(got.body.FailedRecords) != tc.failed {
			t.Errorf("%q: %d %s, applied %d", tc.way, got.status, got.text, len(log.Changes))
		}
	}
}

func TestAPI_AppliesARowAsConfigured(t *testing.T) {
	t.Parallel()
	first := `[{"id":"` + john + `","firstName":"john","lastName":"doe","salutation":"mr","cellPhone":{"extension":"+","phoneNumber":"1","countryCode":"+91"}}]`
	second := `[{"id":"` + strings.ToUpper(john) + `","firstName":"jon","lastName":null,"cellPhone":{"phoneNumber":"2"}}]`
	phone := func(members ...string) map[string]any {
		m := make(map[string]any)
		for i := 0; i < len(members); i += 2 {
			m[members[i]] = members[i+1]
		}
		return m
	}
	for _, tc := range []struct {
		update Update
		want   map[string]any
	}{
		{MergePatch, map[string]any{"firstName": "jon", "salutation": "mr", "fullName": "jon", "cellPhone": phone("extension", "+", "phoneNumber", "2", "countryCode", "+91")}},
		{SetTop, map[string]any{"firstName": "jon", "salutation": "mr", "fullName": "jon", "cellPhone": phone("phoneNumber", "2")}},
		{Replace, map[string]any{"firstName": "jon", "fullName": "jon", "cellPhone": phone("phoneNumber", "2")}},
	} {
		c := start(t, Config{Unknowns: Unknowns{Update: tc.update, OnlyID: true, Nulls: NullsClear}})
		c.put(first)
		c.put(second)
		if got, _ := c.api.Contact(stream, john); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: %v, want %v", tc.update, got, tc.want)
		}
	}
}

func TestAPI_EveryVariantAnswersWithRecords(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, v := range Variants() {
		if seen[v.Name] {
			t.Errorf("%s is there twice", v.Name)
		}
		seen[v.Name] = true
		cfg := Config{Known: func(_, id string) bool { return !strings.HasPrefix(id, "bad0") }}
		v.Set(&cfg)
		c := start(t, cfg)
		if got := c.put("[" + one(john, "john", "1") + "]"); got.status != 200 || !strings.Contains(got.text, john) {
			t.Errorf("%s: %d %s", v.Name, got.status, got.text)
		}
	}
}

func TestAPI_OneNumberForOneContact(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Unknowns: Unknowns{Phones: true}})
	c.put("[" + one(john, "john", "1") + "]")
	if got := c.put("[" + one(jane, "jane", "1") + "]"); got.body.Failed != 1.0 {
		t.Errorf("%s", got.text)
	}
	c.put("[" + one(john, "john", "2") + "]")
	if got := c.put("[" + one(jane, "jane", "1") + "]"); got.body.Failed != 0.0 {
		t.Errorf("the number is free now: %s", got.text)
	}
}

func TestAPI_InactiveContactFails(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	c.api.Deactivate(stream, john)
	if got := c.put("[" + one(john, "john", "1") + "]"); got.body.Failed != 1.0 {
		t.Errorf("%s", got.text)
	}
}

func TestAPI_LargeRequests(t *testing.T) {
	t.Parallel()
	var rows []string
	for i := range 3 {
		rows = append(rows, one(fmt.Sprintf("6964af60450340957c6aaaa%d", i), "x", "1"))
	}
	body := "[" + strings.Join(rows, ",") + "]"
	for _, tc := range []struct {
		cfg     Config
		status  int
		applied int
	}{
		{Config{MaxRows: 2}, 413, 0},
		{Config{MaxRows: 2, Unknowns: Unknowns{OverRows: OverRows400}}, 400, 0},
		{Config{MaxRows: 2, Unknowns: Unknowns{OverRows: OverRowsTruncate}}, 200, 2},
		{Config{MaxRows: 2, Unknowns: Unknowns{OverRows: OverRowsReset}}, 0, 0},
		{Config{MaxBytes: 300}, 413, 0},
	} {
		c := start(t, tc.cfg)
		got := c.put(body)
		if log := c.api.Log(); got.status != tc.status || len(log.Changes) != tc.applied || (got.err != nil) != (tc.status == 0) {
			t.Errorf("%+v: %+v, applied %d", tc.cfg, got, len(log.Changes))
		}
	}
}

func TestAPI_AppliesAfterTheGatewayGaveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := start(t, Config{Latency: at(90), GatewayTimeout: at(60)})
		began := time.Now()
		if got := c.put("[" + one(john, "john", "1") + "]"); got.status != 504 || time.Since(began) != at(60) {
			t.Errorf("%d after %v", got.status, time.Since(began))
		}
		if log := c.api.Log(); len(log.Changes) != 0 {
			t.Errorf("applied before its time: %+v", log.Changes)
		}
		time.Sleep(at(31))
		if log := c.api.Log(); len(log.Changes) != 1 || !log.Changes[0].Late {
			t.Errorf("changes %+v", log.Changes)
		}
	})
}

func TestRules_BreakTheRequestsThatTheyMatch(t *testing.T) {
	t.Parallel()
	row := "[" + one(john, "<script>", "1") + "," + one(jane, "jane", "2") + "]"
	for name, tc := range map[string]struct {
		rule    Rule
		status  int
		failed  bool // to read an answer
		applied int
		records int
	}{
		"text":     {Rule{Text: "<SCRIPT", Do: Forbid}, 403, false, 0, 0},
		"no match": {Rule{Text: "union select", Do: Forbid}, 200, false, 2, 2},
		"contact":  {Rule{Contact: john[:6] + "*aaaaa", Do: Answer, Status: 500, Body: "{}"}, 500, false, 0, 0},
		"stream":   {Rule{Stream: "st-7*", Do: Reset}, 0, true, 0, 0},
		"applied":  {Rule{Do: Shut, Applied: true}, 0, true, 2, 0},
		"unusable": {Rule{Do: Answer, Status: 200, Kind: "text/html", Body: "<html>", Applied: true}, 200, false, 2, 0},
		"cut":      {Rule{Do: Cut}, 200, true, 2, 0},
		"refused":  {Rule{Contact: john, Do: RefuseRow, Reason: "no"}, 200, false, 1, 2},
		"lost":     {Rule{Contact: john, Do: Lose}, 200, false, 1, 1},
		"both":     {Rule{Contact: john, Do: Both}, 200, false, 2, 3},
		"rows":     {Rule{MinRows: 3, Do: Reset}, 200, false, 2, 2},
		"later":    {Rule{From: time.Hour, Do: Reset}, 200, false, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, Config{Rules: []Rule{tc.rule}})
			got := c.put(row)
			if got.status != tc.status || (got.err != nil) != tc.failed || len(got.body.SuccessfulRecords)+len(got.body.FailedRecords) != tc.records {
				t.Errorf("%+v", got)
			}
			if tc.rule.Do == Cut && !errors.Is(got.err, io.ErrUnexpectedEOF) {
				t.Errorf("not cut: %v", got.err)
			}
			if log := c.api.Log(); len(log.Changes) != tc.applied {
				t.Errorf("applied %d, want %d", len(log.Changes), tc.applied)
			}
		})
	}
}

func TestRules_TimesAndFraction(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Rules: []Rule{{Times: 2, Do: Answer, Status: 500}, {Fraction: 0.5, Do: Answer, Status: 502}}})
	count := make(map[int]int)
	for range 102 {
		count[c.put("["+one(john, "john", "1")+"]").status]++
	}
	if count[500] != 2 || count[502] < 30 || count[502] > 70 || count[200] != 100-count[502] {
		t.Errorf("%v", count)
	}
}
