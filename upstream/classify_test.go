package upstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// TestTable has a reply for every row of the table, and knows no other rows.
func TestTable(t *testing.T) {
	t.Parallel()
	is := func(status int) reply { return reply{status: status, sent: true} }
	rows := []struct {
		condition string
		kind      contactsync.Kind
		ambiguous bool
		replies   []reply
	}{
		{"our own stop", contactsync.Canceled, true, []reply{{fault: faultStopped}, {fault: faultStopped, status: 200}}},
		{"the batch's account is not configured; nothing is sent", contactsync.Unknown, false, []reply{{fault: faultAccount}}},
		{"the stream's name is not a stream id; nothing is sent", contactsync.StreamGone, false, []reply{{fault: faultStream}}},
		{"no token can be signed; nothing is sent", contactsync.Unauthorized, false, []reply{{fault: faultToken}}},
		{"no connection: name, route, proxy, TLS", contactsync.Unavailable, false, []reply{{fault: faultConnect}}},
		{"no complete answer within the time-out", contactsync.Unavailable, true, []reply{{fault: faultTimeout}, {fault: faultTimeout, status: 207}}},
		{"connection closed, reset or not speaking HTTP, before or within an answer that counts", contactsync.Unavailable, true, []reply{{fault: faultCut}}},
		{
			"any status, and the body has the vendor's rate-limit text", contactsync.Throttled, false,
			[]reply{{status: 200, limited: true}, {status: 401, limited: true}, {status: 502, limited: true}},
		},
		{"429", contactsync.Throttled, false, []reply{is(429)}},
		{"503 with Retry-After", contactsync.Throttled, false, []reply{{status: 503, wait: 1}}},
		{"200, 207 with an answer to a bulk update", contactsync.Answered, false, []reply{{status: 200, body: bodyUsable}, {status: 207, body: bodyUsable}}},
		{"200, 207 with JSON that is no answer to a bulk update", contactsync.Unknown, false, []reply{{status: 200, body: bodyOdd}, {status: 207, body: bodyOdd}}},
		{"200, 207 with a body that is empty, HTML, truncated, too long or oddly encoded", contactsync.Unavailable, false, []reply{is(200), is(207)}},
		{"other 2xx", contactsync.Unknown, false, []reply{is(201), is(202), is(204), {status: 299, body: bodyUsable}}},
		{"3xx", contactsync.Unavailable, false, []reply{is(300), is(301), is(304), is(308)}},
		{"400, 412, 422", contactsync.BadRequest, false, []reply{is(400), is(412), is(422)}},
		{"401, 403", contactsync.Unauthorized, false, []reply{is(401), is(403)}},
		{"404, 410", contactsync.StreamGone, false, []reply{is(404), is(410)}},
		{"413", contactsync.TooLarge, false, []reply{is(413)}},
		{"408, 425", contactsync.Unavailable, false, []reply{is(408), is(425)}},
		{"405", contactsync.Unknown, false, []reply{is(405)}},
		{"409", contactsync.Unknown, false, []reply{is(409)}},
		{"414, 431", contactsync.Unknown, false, []reply{is(414), is(431)}},
		{"502, 504, 524", contactsync.Unavailable, true, []reply{is(502), is(504), is(524)}},
		{"other 5xx", contactsync.Unavailable, false, []reply{is(500), is(501), is(503), is(599)}},
		{"anything else", contactsync.Unknown, false, []reply{is(0), is(101), is(402), is(407), is(418), is(600), is(999), is(-1)}},
	}
	table := Table()
	if len(table) != len(rows) {
		t.Errorf("the table has %d rows, the test %d", len(table), len(rows))
	}
	for i, want := range rows {
		if i < len(table) && table[i].Condition != want.condition {
			t.Errorf("row %d is %q, want %q", i, table[i].Condition, want.condition)
		}
		for _, r := range want.replies {
			got := classify(table, r)
			if got.Condition != want.condition || got.Kind != want.kind || got.Ambiguous != want.ambiguous {
				t.Errorf("%+v: got %q %v %v, want %q %v %v", r, got.Condition, got.Kind, got.Ambiguous, want.condition, want.kind, want.ambiguous)
			}
			if got.Then == "" || got.Why == "" {
				t.Errorf("%q says not what happens and why", got.Condition)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 9, 9, 35, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "007": 7 * time.Second,
		"-7": 0, "+7": 0, "7.5": 0, "7s": 0, "soon": 0, "1e3": 0, "0x10": 0, "7, 8": 0,
		"86400": 24 * time.Hour, "86401": 24 * time.Hour, "99999999999999999999999": 24 * time.Hour,
		"Fri, 09 Jan 2026 09:35:30 GMT":  30 * time.Second,
		"Friday, 09-Jan-26 09:35:30 GMT": 30 * time.Second,
		"Fri Jan  9 09:35:30 2026":       30 * time.Second,
		"Fri, 09 Jan 2026 09:34:30 GMT":  0,
		"Fri, 09 Jan 9999 09:34:30 GMT":  24 * time.Hour,
		"Fri, 31 Feb 2026 09:35:30 GMT":  0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	skewed := http.Header{"Retry-After": {"Fri, 09 Jan 2026 10:00:30 GMT"}, "Date": {"Fri, 09 Jan 2026 10:00:00 GMT"}}
	if got := retryAfter(skewed, now); got != 30*time.Second {
		t.Errorf("with the answer's clock: got %v", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "7", "-1", "99999999999999999999", "Fri, 09 Jan 2026 09:35:30 GMT", "١٢"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, after, date string) {
		got := retryAfter(http.Header{"Retry-After": {after}, "Date": {date}}, time.Now())
		if got < 0 || got > longestRetryAfter {
			t.Fatalf("%q: got %v", after, got)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"st-1", "", ".", "..", "../x", "a/b", "%2e%2e", "%2f", "a;b", "a?b", "a#b", `a\b`, "a\r\nb", "a\x00b",
		"a b", "ａ", "․․", "a\n", strings.Repeat("a", 65), "http://x", "//x", "@x", ":80",
	} {
		f.Add(seed)
	}
	base, err := parseHost("https://api.test", false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		u, ok := target(base, stream)
		if !ok {
			return
		}
		want := "https://api.test/agentassist/api/v1/public/" + stream + "/contacts/bulk-update"
		if u.String() != want {
			t.Fatalf("got %s, want %s", u, want)
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != base.Host || again.EscapedPath() != u.EscapedPath() || strings.Count(again.Path, "/") != 7 {
			t.Fatalf("%s reads as %+v, %v", u, again, err)
		}
	})
}

func TestTarget_RefusesWhatIsNoStream(t *testing.T) {
	t.Parallel()
	base := &url.URL{Scheme: "https", Host: "api.test"}
	for _, stream := range []string{"", ".", "..", "a/b", "a%2fb", "a.b", "a b", "a\n", "ä", strings.Repeat("a", 65)} {
		if u, ok := target(base, stream); ok {
			t.Errorf("%q led to %s", stream, u)
		}
	}
}
