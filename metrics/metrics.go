package metrics

import "github.com/prometheus/client_golang/prometheus"

// Namespace is the prefix of every series of the service.
const Namespace = "contactsync"

// Set is every series of the service, by the stage that writes it. What each one
// means is said once, in series.go.
type Set struct {
	Consumer   Consumer
	Batcher    Batcher
	Upstream   Upstream
	DeadLetter DeadLetter
}

// Consumer holds the series of reading from Kafka.
type Consumer struct {
	Records           *prometheus.CounterVec // result
	FetchedBytes      prometheus.Counter
	FetchErrors       *prometheus.CounterVec // reason
	ControlBatches    prometheus.Counter
	AbortedRecords    prometheus.Counter
	Rebalances        prometheus.Counter
	GroupErrors       prometheus.Counter
	Assigned          prometheus.Gauge
	MissingTopics     prometheus.Gauge
	FilesRefused      *prometheus.CounterVec // setting
	CatchingUp        prometheus.Gauge
	Commits           *prometheus.CounterVec // result
	ProgressIgnored   *prometheus.CounterVec // reason
	ProgressCut       prometheus.Counter
	OffsetsLost       *prometheus.CounterVec // reason
	OffsetsSetAside   *prometheus.CounterVec // reason
	UnreadableFeeds   *prometheus.CounterVec // policy
	Halted            prometheus.Gauge
	DrainTimeouts     prometheus.Counter
	PendingRecords    *prometheus.GaugeVec // topic, partition
	ParkedRecords     *prometheus.GaugeVec // topic, partition
	RecordsReread     prometheus.Counter
	Lag               *prometheus.GaugeVec // topic, partition
	UnreadRecords     *prometheus.GaugeVec // topic, partition
	LastCommit        *prometheus.GaugeVec // topic, partition
	CertificateExpiry *prometheus.GaugeVec // setting
	CommittedOffset   *prometheus.GaugeVec // topic, partition
	ReadOffset        *prometheus.GaugeVec // topic, partition
	PartitionState    *prometheus.GaugeVec // topic, partition, state
}

// Batcher holds the series of the window.
type Batcher struct {
	Bytes                 prometheus.Gauge
	BytesLimit            prometheus.Gauge
	Full                  prometheus.Gauge
	PendingContacts       prometheus.Gauge
	OldestPendingAge      *prometheus.GaugeVec // state
	ActiveStreams         prometheus.Gauge
	StreamsBackingOff     prometheus.Gauge
	FullSeconds           prometheus.Counter
	InFlightRequests      prometheus.Gauge
	InFlightRows          prometheus.Gauge
	SlotsBusySeconds      *prometheus.CounterVec // account
	LastDelivery          *prometheus.GaugeVec   // account
	Events                *Events
	InFlightLimit         *prometheus.GaugeVec   // account
	Skipped               *prometheus.CounterVec // reason
	Late                  prometheus.Counter
	Batches               *prometheus.CounterVec // reason
	Rows                  prometheus.Histogram
	RowsRetried           *prometheus.CounterVec // kind
	RejectedRowsRetained  prometheus.Counter
	StreamsOnHold         *prometheus.GaugeVec // account, kind
	ContactsOnHold        *prometheus.GaugeVec // account, kind
	EventsOnHold          *prometheus.GaugeVec // account, kind
	BytesOnHold           *prometheus.GaugeVec // account, kind
	OldestHoldAge         *prometheus.GaugeVec // account, kind
	EventsParked          prometheus.Counter
	AccountsOnHold        prometheus.Gauge
	ProbesRefused         *prometheus.CounterVec // kind
	HoldDecisions         *prometheus.CounterVec // decision
	RequestMaxRows        *prometheus.GaugeVec   // account
	RequestMaxBytes       *prometheus.GaugeVec   // account
	HintsIgnored          *prometheus.CounterVec // reason
	RememberedContacts    prometheus.Gauge
	ContactsRepartitioned prometheus.Counter
	ContactsRespelled     prometheus.Counter
}

// Upstream holds the series of the calls to the API.
type Upstream struct {
	Requests          *prometheus.CounterVec   // account, kind, purpose
	Redials           *prometheus.CounterVec   // account
	Duration          *prometheus.HistogramVec // account
	Rows              *prometheus.CounterVec   // account, result
	AnswerIDs         *prometheus.CounterVec   // account, ids
	TokensIssued      *prometheus.CounterVec   // account
	CredentialsLoaded *prometheus.GaugeVec     // account
	CredentialsExpiry *prometheus.GaugeVec     // account, setting
	CertificateExpiry *prometheus.GaugeVec     // setting
	FilesRefused      *prometheus.CounterVec   // setting
	Breaker           *prometheus.GaugeVec     // host
	BudgetRemaining   *prometheus.GaugeVec     // account
	BudgetShare       *prometheus.GaugeVec     // account
	BudgetRefill      *prometheus.GaugeVec     // account
	BudgetLimit       *prometheus.GaugeVec     // account
	BudgetWindow      *prometheus.GaugeVec     // account
	BudgetPart        *prometheus.GaugeVec     // account
	BudgetLearned     *prometheus.GaugeVec     // account
	BudgetUsed        *prometheus.CounterVec   // account
	BlockedSeconds    *prometheus.CounterVec   // account, cause
	ThrottleRemaining *prometheus.GaugeVec     // account
}

// DeadLetter holds the series of writing dead letters.
type DeadLetter struct {
	Published *prometheus.CounterVec // reason
	Truncated prometheus.Counter
	Errors    prometheus.Counter
	Pending   prometheus.Gauge
}

// The known values of labels. Counters with one of these labels start at zero.
var (
	RecordResults = []string{"update", "delete", "tombstone", "undecodable", "invalid", "unmapped"}
	FetchReasons  = []string{"leader", "offset", "decode", "network", "other"}
	CommitResults = []string{"ok", "refused", "forbidden", "error"}
	Ignored       = []string{"foreign", "version", "damaged", "other_offset", "other_log", "other_cluster", "unknown_log", "replaced"}
	LostReasons   = []string{"below_log_start", "beyond_end", "recreated"}
	BatchFaults   = []string{"corrupt", "too_large", "headers", "unsupported"}
	FeedPolicies  = []string{"halt", "skip"}
	States        = []string{"catching_up", "reading", "waiting", "unavailable", "forbidden", "missing", "halted", "feed_halted", "feed_skipped"}
	WaitStates    = []string{"active", "on_hold", "dead_letter"}
	SkipReasons   = []string{"tombstone", "unnamed_tombstone", "delete", "stale"}
	IgnoredHints  = []string{"version_unreadable", "occurred_at_unreadable", "occurred_at_ahead"}
	HoldDecisions = []string{"release", "set_aside"}
	HoldKinds     = []string{"unauthorized", "stream_gone", "contract", "rejecting", "credential", "alone", "failing"}
	BatchReasons  = []string{"rows", "bytes", "linger", "retry"}
	RowResults    = []string{"delivered", "failed", "unresolved"}
	BlockCauses   = []string{"budget", "throttled", "breaker"}
	AnswerIDs     = []string{"asked", "answered", "missing", "repeated", "unknown", "respelled"}
)
