package upstream

import (
	"testing"

	"github.com/contactsync/contactsync"
)

// TestTable has attempts for every rule of the table, and knows no other rules.
func TestTable(t *testing.T) {
	t.Parallel()
	is := func(status int) attempt { return attempt{status: status, sent: true} }
	rules := []struct {
		condition string
		kind      contactsync.Kind
		ambiguous bool
		attempts  []attempt
	}{
		{"our own stop, or no call left to repeat the request on a new connection", contactsync.Canceled, true, []attempt{{sendError: sendStopped}, {sendError: sendStopped, status: 200}}},
		{"the batch's account is not configured; nothing is sent", contactsync.Unknown, false, []attempt{{sendError: sendUnknownAccount}}},
		{"the stream's name is not a stream id; nothing is sent", contactsync.StreamGone, false, []attempt{{sendError: sendBadStream}}},
		{"no token can be signed; nothing is sent", contactsync.Unauthorized, false, []attempt{{sendError: sendNoToken}}},
		{"no connection: name, route, proxy, TLS", contactsync.Unavailable, false, []attempt{{sendError: sendNoConnection}}},
		{"no complete answer within the time-out", contactsync.Unavailable, true, []attempt{{sendError: sendTimeout}, {sendError: sendTimeout, status: 207}}},
		{"connection closed, reset or not speaking HTTP, before or within an answer that counts", contactsync.Unavailable, true, []attempt{{sendError: sendCut}}},
		{
			"any status, and the body has the vendor's rate-limit text", contactsync.Throttled, false,
			[]attempt{{status: 200, rateLimited: true}, {status: 401, rateLimited: true}, {status: 502, rateLimited: true}},
		},
		{"429", contactsync.Throttled, false, []attempt{is(429)}},
		{"503 with Retry-After", contactsync.Throttled, false, []attempt{{status: 503, retryAfter: 1}}},
		{"200, 207 with an answer to a bulk update", contactsync.Answered, false, []attempt{{status: 200, body: bodyUsable}, {status: 207, body: bodyUsable}}},
		{"200, 207 with JSON that is no answer to a bulk update", contactsync.Unknown, false, []attempt{{status: 200, body: bodyForeign}, {status: 207, body: bodyForeign}}},
		{"200, 207 with a body that is empty, HTML, truncated, too long or in an unknown encoding", contactsync.Unavailable, false, []attempt{is(200), is(207)}},
		{"other 2xx", contactsync.Unknown, false, []attempt{is(201), is(202), is(204), {status: 299, body: bodyUsable}}},
		{"3xx", contactsync.Unavailable, false, []attempt{is(300), is(301), is(304), is(308)}},
		{
			"400, 404, 409, 412, 422 with an answer that lists failed rows, beside applied ones or all of them", contactsync.Answered, false,
			[]attempt{{status: 400, body: bodyUsable}, {status: 404, body: bodyUsable}, {status: 409, body: bodyUsable}, {status: 412, body: bodyUsable}, {status: 422, body: bodyUsable}},
		},
		{"400, 412, 422", contactsync.BadRequest, false, []attempt{is(400), is(412), is(422)}},
		{"401, and 403 in the vendor's form", contactsync.Unauthorized, false, []attempt{is(401), {status: 403, vendorsForm: true}}},
		{"403 in another form", contactsync.Unavailable, false, []attempt{is(403)}},
		{"404, 410", contactsync.StreamGone, false, []attempt{is(404), is(410)}},
		{"413", contactsync.TooLarge, false, []attempt{is(413)}},
		{"408, 425", contactsync.Unavailable, false, []attempt{is(408), is(425)}},
		{"405", contactsync.Unknown, false, []attempt{is(405)}},
		{"409", contactsync.Unknown, false, []attempt{is(409)}},
		{"414, 431", contactsync.Unknown, false, []attempt{is(414), is(431)}},
		{"502, 504, 524", contactsync.Unavailable, true, []attempt{is(502), is(504), is(524)}},
		{"other 5xx", contactsync.Unavailable, false, []attempt{is(500), is(501), is(503), is(599)}},
		{"anything else", contactsync.Unknown, false, []attempt{is(0), is(101), is(402), is(407), is(418), is(600), is(999), is(-1)}},
	}
	table := Table()
	if len(table) != len(rules) {
		t.Errorf("the table has %d rules, the test %d", len(table), len(rules))
	}
	for i, want := range rules {
		if i < len(table) && table[i].Condition != want.condition {
			t.Errorf("rule %d is %q, want %q", i, table[i].Condition, want.condition)
		}
		for _, a := range want.attempts {
			got := classify(table, &a)
			if got.Condition != want.condition || got.Kind != want.kind || got.Ambiguous != want.ambiguous {
				t.Errorf("%+v: got %q %v %v, want %q %v %v", a, got.Condition, got.Kind, got.Ambiguous, want.condition, want.kind, want.ambiguous)
			}
			if got.Why == "" {
				t.Errorf("%q lacks why", got.Condition)
			}
		}
	}
}
