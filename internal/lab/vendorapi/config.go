package vendorapi

import (
	"time"
)

// Config describes one API.
type Config struct {
	Accounts []Account
	Unknowns
	Rules  []Rule // the first one that matches a request breaks it
	Budget Budget

	// Known tells whether a contact exists; nil: every well-formed id does. Contacts that
	// exist are made when they are first touched.
	Known func(stream, id string) bool

	Latency, PerRow time.Duration // how long a request is worked on, and how much longer for each row
	GatewayTimeout  time.Duration // what takes longer is answered with 504 after it, and applied all the same; 0: none
	MaxBytes        int           // of a body; larger ones are refused with 413; 0: no limit
	MaxRows         int           // of a request, see Unknowns.OverRows; 0: no limit
}

// Account is one account and the JWT apps that were made for it.
type Account struct {
	ID      string
	Streams []string // none: it has every stream that is named like one
	Apps    []App
}

// App is one JWT app, whose client id and secret sign tokens.
type App struct {
	ClientID, Secret string
	Streams          []string // made for these only; none: for the whole account
	NoScope          bool     // the scope "Configuration" was not given to it, or it was not published
}

// Budget is the rate limit of each account.
type Budget struct {
	Requests   int           // none: no limit. The page says 60
	Window     time.Duration // 0: a minute
	Kind       BudgetKind
	Status     int        // of a refused request; 0: 429
	RetryAfter RetryAfter // the header that goes with it
	PlainText  bool       // the documented sentence as text/plain, not in {"errors":[...]}
	FreeIfOver bool       // refused requests do not count
}

// BudgetKind is how "60 per minute" is counted.
type BudgetKind string

// The ways to count.
const (
	Rolling BudgetKind = ""      // so many in any window
	Fixed   BudgetKind = "fixed" // so many from one full minute to the next
	Paced   BudgetKind = "paced" // one each window/requests
)

// RetryAfter is the form of the header of that name.
type RetryAfter string

// The forms.
const (
	NoRetryAfter      RetryAfter = ""
	RetryAfterSeconds RetryAfter = "seconds"
	RetryAfterDate    RetryAfter = "date"
)

// Unknowns are the questions that the page leaves open. The zero value is the plainest reading.
type Unknowns struct {
	EnforceJTI   bool          // an option of the JWT app: each token has a jti, and is used once
	MaxTokenLife time.Duration // 0: tokens without exp are taken, and any exp
	Skew         time.Duration // how far the client's clock may be off
	Ahead        time.Duration // of the client's clock, the API's; below 0: it is behind
	ScopeMessage bool          // the missing scope is told as "message", and not as "msg"
	WrongStream  int           // status for a stream that the account does not have: 0 is 400, as observed

	Update     Update     // what a row does to its contact
	OnlyID     bool       // only id is required, and not all seven members
	Nulls      Nulls      // what null does
	Unnamed    Unnamed    // what becomes of members that the page does not name
	MaxText    int        // characters of a member; 0: any number
	Salutation bool       // only "Mr" and "Mrs" are taken, with or without a dot, in any case
	Phones     bool       // a number belongs to one contact of a stream
	Malformed  BadRow     // what a row with bad members does
	Missing    BadRow     // what a row of an unknown contact does
	Duplicates Duplicates // one contact twice in a request
	OverRows   OverRows   // more rows than MaxRows
	Empty      bool       // an empty array is answered with zeros, and not refused

	WholeStatus   int // of a refused request: 0 is 412, as observed; 400 and 422 are plausible
	PartialStatus int // if some rows failed: 0 is 200
	FailedStatus  int // if all failed: 0 is 200

	Failure  FailureShape
	Success  SuccessShape
	Order    Order    // of the records in an answer
	Counters Counters // of an answer
	Lists    Lists    // how an empty list looks
	LowerIDs bool     // ids are answered in lower case, as an ObjectId prints itself
	Quiet    bool     // a contact that was not changed by its row is counted and not listed
}

// Update is what a row does to a contact.
type Update string

// The ways.
const (
	Replace    Update = ""      // what the row has is the contact, as PUT means
	MergePatch Update = "patch" // RFC 7396
	SetTop     Update = "set"   // members of the row replace members of the contact, cellPhone as a whole
)

// Nulls is what null as a member's value does.
type Nulls string

// The ways.
const (
	NullsRefused Nulls = ""
	NullsClear   Nulls = "clear"
	NullsIgnored Nulls = "ignore"
)

// Unnamed is what becomes of members that the page does not name.
type Unnamed string

// The ways.
const (
	UnnamedDropped Unnamed = ""
	UnnamedStored  Unnamed = "store"
	UnnamedRefused Unnamed = "refuse"
)

// BadRow is what a bad row does to its request.
type BadRow string

// The ways.
const (
	Listed BadRow = ""       // it is in failedRecords, the others are applied
	Whole  BadRow = "whole"  // the request is refused, nothing is applied
	Abort  BadRow = "abort"  // the request is refused when the rows before it have been applied
	Silent BadRow = "silent" // it is in neither list
	Crash  BadRow = "crash"  // 500, nothing is applied
)

// Duplicates is what one contact twice in a request leads to.
type Duplicates string

// The ways.
const (
	DuplicatesApplied Duplicates = ""      // one after the other, two records
	DuplicatesOnce    Duplicates = "once"  // one after the other, one record
	DuplicatesRefused Duplicates = "whole" // the request is refused
)

// OverRows is what becomes of a request with more than MaxRows rows.
type OverRows string

// The ways.
const (
	OverRows413      OverRows = ""
	OverRows400      OverRows = "400"
	OverRowsTruncate OverRows = "truncate" // the first rows are applied and answered, the rest is as if not sent
	OverRowsReset    OverRows = "reset"
)

// FailureShape is the form of an element of failedRecords.
type FailureShape string

// The forms.
const (
	FailureError    FailureShape = ""         // {"id","error"}
	FailureReason   FailureShape = "reason"   // {"id","reason":{"statusCode","errors":[...]...}}, as in Delete Users
	FailureStatus   FailureShape = "status"   // {"id","status":"failed","reason":"not_found"}, as in callbacks
	FailureErrors   FailureShape = "errors"   // {"id","errors":[{"message","code"}]}
	FailureContact  FailureShape = "contact"  // {"contact":{"_id",...},"errorMessage"}
	FailureIndex    FailureShape = "index"    // {"index","errorMessage"}
	FailureNullID   FailureShape = "null"     // {"id":null,"error"}
	FailureMongoID  FailureShape = "mongo"    // {"_id","message"}
	FailureBareID   FailureShape = "bare"     // "6964..."
	FailureIDOnly   FailureShape = "id"       // {"id"}
	FailureSentence FailureShape = "sentence" // "Contact 6964... could not be updated: ..."
)

// SuccessShape is the form of an element of successfulRecords.
type SuccessShape string

// The forms.
const (
	SuccessPage   SuccessShape = ""       // {"id","contact":{"_id",...}}
	SuccessIDOnly SuccessShape = "id"     // {"id"}, as in Delete Bulk
	SuccessInner  SuccessShape = "inner"  // {"contact":{"_id",...}}
	SuccessFlat   SuccessShape = "flat"   // {"id","firstName",...}, as in Update one
	SuccessBareID SuccessShape = "bareid" // "6964..."
)

// Order is the order of the records in an answer.
type Order string

// The orders.
const (
	OrderAsSent   Order = ""
	OrderReversed Order = "reversed"
	OrderShuffled Order = "shuffled"
)

// Counters is the form of totalRequested, successful and failed.
type Counters string

// The forms.
const (
	CountersNumbers Counters = ""
	CountersStrings Counters = "strings"
	CountersAbsent  Counters = "absent"
)

// Lists is how an empty list looks.
type Lists string

// The forms.
const (
	ListsEmpty  Lists = ""
	ListsNull   Lists = "null"
	ListsAbsent Lists = "absent"
)
