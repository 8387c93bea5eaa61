package upstream

import (
	"slices"

	"github.com/contactsync/contactsync"
)

// Rule is one line of the table of answers: what came back, and what it means. What
// that leads to is decided by the kind, in batcher/policy.go.
type Rule struct {
	Condition string           // what came back
	Kind      contactsync.Kind // its name in metrics and logs
	Why       string
	// Ambiguous reports whether the API may still apply the request, if it was sent.
	Ambiguous bool
	// MayBeRows reports whether what a row holds, or how many there are, may be the cause.
	MayBeRows bool

	match func(*attempt) bool
}

// refusals are the statuses that may tell of rows as well as of the request.
var refusals = []int{400, 404, 409, 412, 422}

// throttles are the statuses of a throttled request, which may have been applied in part.
var throttles = []int{429, 503}

// Table returns the rules for everything that can come back from a request. The
// first rule that matches applies; the last one matches everything.
func Table() []Rule {
	failed := func(e sendError) func(*attempt) bool {
		return func(a *attempt) bool { return a.sendError == e }
	}
	status := func(codes ...int) func(*attempt) bool {
		return func(a *attempt) bool { return slices.Contains(codes, a.status) }
	}
	class := func(hundreds int) func(*attempt) bool {
		return func(a *attempt) bool { return a.status/100 == hundreds }
	}
	body := func(state bodyState) func(*attempt) bool {
		return func(a *attempt) bool { return (a.status == 200 || a.status == 207) && a.body == state }
	}
	return []Rule{
		{
			"our own stop, or no call left to repeat the request on a new connection", contactsync.Canceled,
			"the partition is handed over, and its next owner reads the events again; or the budget has no call for now", true, false, failed(sendStopped),
		},
		{
			"the batch's account is not configured; nothing is sent", contactsync.Unknown,
			"routing never yields such an account, so it is a defect of the service and no reason to lose rows", false, false, failed(sendUnknownAccount),
		},
		{
			"the stream's name is not a stream id; nothing is sent", contactsync.StreamGone,
			"the name could lead to another path, and the API cannot know such a stream", false, false, failed(sendBadStream),
		},
		{
			"no token can be signed; nothing is sent", contactsync.Unauthorized,
			"credentials are missing or unusable, which is a matter of configuration and not of the rows", false, false, failed(sendNoToken),
		},
		{
			"no connection: name, route, proxy, TLS", contactsync.Unavailable,
			"nothing was sent, so nothing can have been applied", false, false, failed(sendNoConnection),
		},
		{
			"no complete answer within the time-out", contactsync.Unavailable,
			"an update by id with full values can be repeated", true, true, failed(sendTimeout),
		},
		{
			"connection closed, reset or not speaking HTTP, before or within an answer that counts", contactsync.Unavailable,
			"an update by id with full values can be repeated; where the connection had been used before, and no byte of an answer came, the request was repeated on a new one already", true, true, failed(sendCut),
		},

		{
			"any status, and the body has the vendor's rate-limit text", contactsync.Throttled,
			"the vendor documents the text, and no status for it", false, false, func(a *attempt) bool { return a.rateLimited },
		},
		{"429", contactsync.Throttled, "the standard status for it", false, false, status(429)},
		{
			"503 with Retry-After", contactsync.Throttled,
			"a host that names a time is alive and asks for it", false, false, func(a *attempt) bool { return a.status == 503 && a.retryAfter > 0 },
		},

		{
			"200, 207 with an answer to a bulk update", contactsync.Answered,
			"the vendor documents 200; others answer 207 if rows differ", false, false, body(bodyUsable),
		},
		{
			"200, 207 with JSON that is no answer to a bulk update", contactsync.Unknown,
			"nothing shows that a row was applied, or that the host is down", false, true, body(bodyForeign),
		},
		{
			"200, 207 with a body that is empty, HTML, truncated, too long or in an unknown encoding", contactsync.Unavailable,
			"typical of a proxy or of a failing host; rows that may have been applied can be repeated", false, true, body(bodyUnreadable),
		},
		{
			"other 2xx", contactsync.Unknown,
			"accepted is not applied, and the vendor documents no such answer", false, true, class(2),
		},
		{
			"3xx", contactsync.Unavailable,
			"redirects are not followed: contacts and token would go to a host that is not configured", false, false, class(3),
		},

		{
			"400, 404, 409, 412, 422 with an answer that lists failed rows, beside applied ones or all of them", contactsync.Answered,
			"the vendor documents no status for a request of which rows failed, and what names them is about them", false, false,
			func(a *attempt) bool { return a.body == bodyUsable && slices.Contains(refusals, a.status) },
		},
		{
			"400, 412, 422", contactsync.BadRequest,
			"the vendor answers 400 and 412 to a malformed body, and a single row can make it so", false, false, status(400, 412, 422),
		},
		{
			"401, and 403 in the vendor's form", contactsync.Unauthorized,
			"the vendor answers 401 to an expired token, a wrong secret, stream or scope alike; none is the rows' fault", false, false,
			func(a *attempt) bool { return a.status == 401 || a.status == 403 && a.vendorsForm },
		},
		{
			"403 in another form", contactsync.Unavailable,
			"a gateway refuses the request, perhaps for the words in one of its rows", false, true, status(403),
		},
		{"404, 410", contactsync.StreamGone, "the stream is the only variable part of the path", false, false, status(404, 410)},
		{"413", contactsync.TooLarge, "the vendor documents no limit, so it is learned", false, false, status(413)},
		{"408, 425", contactsync.Unavailable, "the host asks for a retry", false, false, status(408, 425)},
		{
			"405", contactsync.Unknown,
			"the method is right for the API, so something else answers, such as a gateway with rules of its own", false, false, status(405),
		},
		{
			"409", contactsync.Unknown,
			"not documented; possibly a transient conflict with another writer", false, true, status(409),
		},
		{
			"414, 431", contactsync.Unknown,
			"neither the request line nor the headers depend on the rows", false, false, status(414, 431),
		},

		{
			"502, 504, 524", contactsync.Unavailable,
			"a gateway gave up on the API, which may still process the request", true, true, status(502, 504, 524),
		},
		{"other 5xx", contactsync.Unavailable, "the host failed, be it for a row that it cannot take", false, true, class(5)},
		{
			"anything else", contactsync.Unknown, "what was not foreseen must not cost a row", false, true,
			func(*attempt) bool { return true },
		},
	}
}

// classify returns the first rule that matches.
func classify(table []Rule, a *attempt) Rule {
	for _, rule := range table {
		if rule.match(a) {
			return rule
		}
	}
	panic("BUG: the last rule of the table matches everything")
}
