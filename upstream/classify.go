package upstream

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
)

// Rule is one line of the table of answers: what came back, and what it means.
type Rule struct {
	Condition string           // what came back
	Kind      contactsync.Kind // what it is called
	Then      string           // what happens to the batch
	Why       string
	// Ambiguous says that the API may still apply the request, if it was sent.
	Ambiguous bool

	match func(reply) bool
}

// reply is what is known after an attempt.
type reply struct {
	status  int   // 0 where no answer came
	fault   fault // of the transport, or of what we would send
	sent    bool  // some of the body was handed to a connection
	body    bodyState
	limited bool          // the body holds the vendor's rate-limit text
	wait    time.Duration // Retry-After; 0 where absent or unusable
}

// fault says what kept an answer from coming.
type fault uint8

const (
	noFault      fault = iota
	faultStopped       // our own stop
	faultAccount       // the batch names an account that is not configured
	faultStream        // the stream's name is none
	faultToken         // no token could be signed
	faultConnect       // nothing was sent
	faultTimeout       // the attempt's time was up
	faultCut           // the connection failed after something was sent
)

// bodyState says what the body of a 200 or 207 is good for.
type bodyState uint8

const (
	bodyBroken bodyState = iota // not complete JSON
	bodyOdd                     // JSON, but no answer to a bulk update
	bodyUsable
)

// What happens, worded once.
const (
	thenSettle   = "each row is settled by what the answer says of it"
	thenBackOff  = "kept, and sent again after a growing wait"
	thenWait     = "kept; the account waits as asked and calls less often"
	thenHold     = "kept; a new token is tried once, then the stream is held, and probed after growing waits"
	thenHalve    = "cut in two and sent again; a row that is too large alone is dead-lettered, else the account's requests get smaller"
	thenBisect   = "cut in two and sent again, down to the bad row, which is dead-lettered"
	thenGone     = "kept; the stream is held, and probed after growing waits"
	thenNothing  = "left for the next owner"
	thenRepeated = "kept, sent again after a growing wait, and reported"
)

// Table returns the meaning of everything that can come back from one attempt.
// The first row that fits counts.
func Table() []Rule {
	status := func(codes ...int) func(reply) bool {
		return func(r reply) bool { return slices.Contains(codes, r.status) }
	}
	class := func(hundreds int) func(reply) bool {
		return func(r reply) bool { return r.status/100 == hundreds }
	}
	failed := func(f fault) func(reply) bool {
		return func(r reply) bool { return r.fault == f }
	}
	list := func(state bodyState) func(reply) bool {
		return func(r reply) bool { return (r.status == 200 || r.status == 207) && r.body == state }
	}
	return []Rule{
		{
			"our own stop", contactsync.Canceled, thenNothing,
			"the partition is being given up; who owns it next reads its events again", true, failed(faultStopped),
		},
		{
			"the batch's account is not configured; nothing is sent", contactsync.Unknown, thenRepeated,
			"routing never yields such an account, so it is a defect here and no reason to lose rows", false, failed(faultAccount),
		},
		{
			"the stream's name is not a stream id; nothing is sent", contactsync.StreamGone, thenGone,
			"the name could lead to another path, and the API cannot know such a stream", false, failed(faultStream),
		},
		{
			"no token can be signed; nothing is sent", contactsync.Unauthorized, thenHold,
			"credentials are missing or unusable: a matter of configuration, not of the rows", false, failed(faultToken),
		},
		{
			"no connection: name, route, proxy, TLS", contactsync.Unavailable, thenBackOff,
			"nothing was sent, so nothing can have been applied", false, failed(faultConnect),
		},
		{
			"no complete answer within the time-out", contactsync.Unavailable, thenBackOff,
			"an update by id with full values can be repeated", true, failed(faultTimeout),
		},
		{
			"connection closed, reset or not speaking HTTP, before or within an answer that counts", contactsync.Unavailable, thenBackOff,
			"an update by id with full values can be repeated", true, failed(faultCut),
		},

		{
			"any status, and the body has the vendor's rate-limit text", contactsync.Throttled, thenWait,
			"the vendor documents the text, and no status for it", false, func(r reply) bool { return r.limited },
		},
		{"429", contactsync.Throttled, thenWait, "the standard's word for it", false, status(429)},
		{
			"503 with Retry-After", contactsync.Throttled, thenWait,
			"a host that names a time is alive and asks for it", false, func(r reply) bool { return r.status == 503 && r.wait > 0 },
		},

		{
			"200, 207 with an answer to a bulk update", contactsync.Answered, thenSettle,
			"the vendor documents 200; 207 is what others use where rows differ", false, list(bodyUsable),
		},
		{
			"200, 207 with JSON that is no answer to a bulk update", contactsync.Unknown, thenRepeated,
			"nothing says that a row was applied, and nothing that the host is down", false, list(bodyOdd),
		},
		{
			"200, 207 with a body that is empty, HTML, truncated, too long or oddly encoded", contactsync.Unavailable, thenBackOff,
			"a proxy or a host in trouble answers so; rows that may have been applied can be repeated", false, list(bodyBroken),
		},
		{
			"other 2xx", contactsync.Unknown, thenRepeated,
			"accepted is not applied; the vendor documents no such answer", false, class(2),
		},
		{
			"3xx", contactsync.Unavailable, thenBackOff,
			"redirects are not followed: contacts and token would go to a host that nobody configured", false, class(3),
		},

		{
			"400, 412, 422", contactsync.BadRequest, thenBisect,
			"the vendor answers 400 and 412 where the body is wrong, and one row can make it so", false, status(400, 412, 422),
		},
		{
			"401, 403", contactsync.Unauthorized, thenHold,
			"the vendor answers 401 to an expired token, a wrong secret, stream or scope alike; none is the rows' fault", false, status(401, 403),
		},
		{"404, 410", contactsync.StreamGone, thenGone, "the path holds nothing variable but the stream", false, status(404, 410)},
		{"413", contactsync.TooLarge, thenHalve, "the vendor documents no limit, so it is learned", false, status(413)},
		{"408, 425", contactsync.Unavailable, thenBackOff, "the host asks for the same again", false, status(408, 425)},
		{
			"405", contactsync.Unknown, thenRepeated,
			"the verb is right for the API, so something else answers, such as a gateway with other rules", false, status(405),
		},
		{
			"409", contactsync.Unknown, thenRepeated,
			"not documented; it might be a passing conflict with another writer", false, status(409),
		},
		{
			"414, 431", contactsync.Unknown, thenRepeated,
			"line and headers do not depend on the rows, so the rows are not to blame", false, status(414, 431),
		},

		{
			"502, 504, 524", contactsync.Unavailable, thenBackOff,
			"a gateway gave up on the API, which may go on with the request", true, status(502, 504, 524),
		},
		{"other 5xx", contactsync.Unavailable, thenBackOff, "the host failed, whatever the rows", false, class(5)},
		{
			"anything else", contactsync.Unknown, thenRepeated, "what nobody foresaw must not cost a row", false,
			func(reply) bool { return true },
		},
	}
}

// classify returns the first row that fits.
func classify(table []Rule, r reply) Rule {
	for _, row := range table {
		if row.match(r) {
			return row
		}
	}
	return Rule{} // Unknown: the last row of the table fits everything
}

// longestRetryAfter bounds what an answer can ask for; Gate bounds it further.
const longestRetryAfter = 24 * time.Hour

// retryAfter reads the header: seconds, or a date that is compared with the
// answer's own clock where it tells that. What is absent, past or garbled is 0.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > int64(longestRetryAfter/time.Second) {
			return longestRetryAfter // all digits, so it is too large
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
		now = theirs
	}
	return min(max(0, at.Sub(now)), longestRetryAfter)
}
