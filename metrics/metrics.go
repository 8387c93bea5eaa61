package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
)

// Set is every series of the service, by the stage that writes it.
type Set struct {
	Consumer   Consumer
	Batcher    Batcher
	Upstream   Upstream
	DeadLetter DeadLetter
}

// Consumer is what the reading of Kafka writes.
type Consumer struct {
	Events          *prometheus.CounterVec // result: update, delete, tombstone, undecodable, invalid, unmapped
	FetchedBytes    prometheus.Counter
	FetchErrors     *prometheus.CounterVec // reason: leader, offset, decode, network, other
	ControlBatches  prometheus.Counter
	AbortedRecords  prometheus.Counter
	Generations     prometheus.Counter
	GroupErrors     prometheus.Counter
	Assigned        prometheus.Gauge
	CatchingUp      prometheus.Gauge
	Commits         *prometheus.CounterVec // result: ok, refused, error
	OffsetsLost     *prometheus.CounterVec // reason: below_log_start, beyond_end
	Halted          prometheus.Gauge
	DrainTimeouts   prometheus.Counter
	OpenPositions   *prometheus.GaugeVec // topic, partition
	Lag             *prometheus.GaugeVec // topic, partition
	CommittedOffset *prometheus.GaugeVec // topic, partition
	ReadOffset      *prometheus.GaugeVec // topic, partition
}

// Batcher is what the window writes.
type Batcher struct {
	Bytes            prometheus.Gauge
	BytesLimit       prometheus.Gauge
	Pending          prometheus.Gauge
	Lanes            prometheus.Gauge
	InFlightRequests prometheus.Gauge
	InFlightRows     prometheus.Gauge
	OldestAge        prometheus.Gauge
	Full             prometheus.Gauge
	Ended            *prometheus.CounterVec // as: delivered, superseded, dead_letter, skipped
	Skipped          *prometheus.CounterVec // reason: tombstone, delete, stale
	Released         prometheus.Counter
	Late             prometheus.Counter
	Batches          *prometheus.CounterVec // cut: rows, bytes, linger, drain, retry
	Rows             prometheus.Histogram
	RowsRetried      *prometheus.CounterVec // kind: of the answer that made it necessary
	BackingOff       prometheus.Gauge
	HeldStreams      *prometheus.GaugeVec // kind: unauthorized, stream_gone, rejecting
	HeldContacts     *prometheus.GaugeVec // kind, likewise
	HeldFor          *prometheus.GaugeVec // kind, likewise
	HeldAccounts     prometheus.Gauge
	Probes           *prometheus.CounterVec // kind, likewise
	Kept             prometheus.Counter
	CeilingRows      *prometheus.GaugeVec // account
	CeilingBytes     *prometheus.GaugeVec // account
	Remembered       prometheus.Gauge
	Moved            prometheus.Counter
}

// Upstream is what the calls of the API write.
type Upstream struct {
	Requests     *prometheus.CounterVec // kind
	Duration     prometheus.Histogram
	Rows         *prometheus.CounterVec // verdict: delivered, failed, unresolved
	Tokens       prometheus.Counter
	Breaker      *prometheus.GaugeVec // host; 0 closed, 1 half-open, 2 open
	BudgetLeft   *prometheus.GaugeVec // account
	BudgetShare  *prometheus.GaugeVec // account
	ThrottledFor *prometheus.GaugeVec // account
}

// DeadLetter is what the writing of dead letters writes.
type DeadLetter struct {
	Published *prometheus.CounterVec // reason
	Truncated prometheus.Counter
	Errors    prometheus.Counter
	Waiting   prometheus.Gauge
}

// Known label values; each is set to zero at start.
var (
	EventResults  = []string{"update", "delete", "tombstone", "undecodable", "invalid", "unmapped"}
	FetchReasons  = []string{"leader", "offset", "decode", "network", "other"}
	CommitResults = []string{"ok", "refused", "error"}
	LostReasons   = []string{"below_log_start", "beyond_end"}
	EndedAs       = []string{"delivered", "superseded", "dead_letter", "skipped"}
	SkipReasons   = []string{"tombstone", "delete", "stale"}
	HoldKinds     = []string{"unauthorized", "stream_gone", "rejecting"}
	CutReasons    = []string{"rows", "bytes", "linger", "drain", "retry"}
	Verdicts      = []string{"delivered", "failed", "unresolved"}
)

// New registers every series on reg. It panics where one is registered already,
// which only a mistake in the wiring can bring about.
func New(reg prometheus.Registerer) *Set {
	m := maker{reg: reg}
	s := &Set{
		Consumer: Consumer{
			Events:          m.counters("consumer_events_total", "Records read, by what they are.", "result", EventResults),
			FetchedBytes:    m.counter("consumer_fetched_bytes_total", "Bytes of keys and values read from Kafka."),
			FetchErrors:     m.counters("consumer_fetch_errors_total", "Fetches that failed, by cause; each is retried.", "reason", FetchReasons),
			ControlBatches:  m.counter("consumer_control_batches_total", "Transaction markers stepped over."),
			AbortedRecords:  m.counter("consumer_aborted_records_total", "Records of aborted transactions left out."),
			Generations:     m.counter("consumer_generations_total", "Generations of the group that this replica took part in."),
			GroupErrors:     m.counter("consumer_group_errors_total", "Errors of the group protocol; each is retried."),
			Assigned:        m.gauge("consumer_assigned_partitions", "Partitions that this replica owns."),
			CatchingUp:      m.gauge("consumer_catching_up_partitions", "Owned partitions whose read position has not yet passed the end seen at assignment."),
			Commits:         m.counters("consumer_commits_total", "Offset commits, by result.", "result", CommitResults),
			OffsetsLost:     m.counters("consumer_offsets_lost_total", "Offsets that no longer exist in Kafka although they were never read.", "reason", LostReasons),
			Halted:          m.gauge("consumer_halted_partitions", "Owned partitions that wait for an operator's decision; see the log."),
			DrainTimeouts:   m.counter("consumer_drain_timeouts_total", "Revocations that gave up requests in flight at the drain deadline."),
			OpenPositions:   m.gauges("consumer_open_positions", "Events read and not yet ended.", "topic", "partition"),
			Lag:             m.gauges("consumer_lag_records", "End of the partition less the first event not yet ended.", "topic", "partition"),
			CommittedOffset: m.gauges("consumer_committed_offset", "Last offset committed by this replica; -1 before the first.", "topic", "partition"),
			ReadOffset:      m.gauges("consumer_read_offset", "Next offset to read.", "topic", "partition"),
		},
		Batcher: Batcher{
			Bytes:            m.gauge("batcher_window_bytes", "Bytes that the window holds."),
			BytesLimit:       m.gauge("batcher_window_limit_bytes", "Bytes that the window may hold before fetching pauses."),
			Pending:          m.gauge("batcher_pending_contacts", "Contacts waiting to be sent."),
			Lanes:            m.gauge("batcher_lanes", "Streams with work."),
			InFlightRequests: m.gauge("batcher_in_flight_requests", "Requests on their way."),
			InFlightRows:     m.gauge("batcher_in_flight_rows", "Rows on their way."),
			OldestAge:        m.gauge("batcher_oldest_pending_age_seconds", "Age of the oldest event not yet ended, by its Kafka timestamp; 0 where there is none."),
			Full:             m.gauge("batcher_window_full", "1 while the window is full and fetching pauses."),
			Ended:            m.counters("batcher_events_ended_total", "Events that ended, by how.", "as", EndedAs),
			Skipped:          m.counters("batcher_events_skipped_total", "Events skipped, by reason.", "reason", SkipReasons),
			Released:         m.counter("batcher_events_released_total", "Events given back unended because their partition was lost; the next owner reads them again."),
			Late:             m.counter("batcher_late_results_total", "Rows answered after their partition was lost; they end nothing."),
			Batches:          m.counters("batcher_batches_total", "Requests cut, by what made them ready.", "cut", CutReasons),
			Rows:             m.histogram("batcher_batch_rows", "Rows a request.", []float64{1, 2, 5, 10, 25, 50, 75, 100, 150, 250, 500, 1000}),
			RowsRetried:      m.counters("batcher_rows_retried_total", "Rows kept to be sent again, by the kind of the answer.", "kind", kindNames()),
			BackingOff:       m.gauge("batcher_lanes_backing_off", "Streams that wait before they try again."),
			HeldStreams:      m.gauges("batcher_held_streams", "Streams on hold: the API refuses the credentials, does not know the stream, or refuses too many rows.", "account", "kind"),
			HeldContacts:     m.gauges("batcher_held_contacts", "Contacts pending in streams on hold.", "account", "kind"),
			HeldFor:          m.gauges("batcher_held_longest_seconds", "How long the oldest hold has lasted.", "account", "kind"),
			HeldAccounts:     m.gauge("batcher_held_accounts", "Accounts on hold as a whole: several of their streams were refused and no answer about rows came in between."),
			Probes:           m.counters("batcher_hold_probes_total", "Requests of streams on hold that were refused, by kind of the hold.", "kind", HoldKinds),
			Kept:             m.counter("batcher_letters_kept_total", "Refusals of rows after which the row was kept, because the account was over its dead-letter budget. A row that is tried again counts again."),
			CeilingRows:      m.gauges("batcher_ceiling_rows", "Most rows a request, as configured or as learned from answers of 413.", "account"),
			CeilingBytes:     m.gauges("batcher_ceiling_bytes", "Most bytes a request, likewise.", "account"),
			Remembered:       m.gauge("batcher_remembered_contacts", "Contacts of which the newest accepted state is remembered."),
			Moved:            m.counter("batcher_contacts_moved_total", "Events whose contact was last seen in another partition: there is no order between the two."),
		},
		Upstream: Upstream{
			Requests:     m.counters("upstream_requests_total", "Calls of the API, by the kind of the answer.", "kind", kindNames()),
			Duration:     m.histogram("upstream_request_duration_seconds", "Time from the start of a call to the end of its answer.", []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}),
			Rows:         m.counters("upstream_rows_total", "Rows answered, by verdict.", "verdict", Verdicts),
			Tokens:       m.counter("upstream_tokens_minted_total", "Tokens signed."),
			Breaker:      m.gauges("upstream_breaker_state", "Circuit breaker of a host: 0 closed, 1 half-open, 2 open.", "host"),
			BudgetLeft:   m.gauges("upstream_budget_left_requests", "Requests that the account could start at once.", "account"),
			BudgetShare:  m.gauges("upstream_budget_share_requests", "This replica's part of the account's requests per window.", "account"),
			ThrottledFor: m.gauges("upstream_throttled_seconds", "Time for which the account still waits because the API asked it to.", "account"),
		},
		DeadLetter: DeadLetter{
			Published: m.counters("deadletter_published_total", "Dead letters acknowledged by Kafka, by reason.", "reason", reasonNames()),
			Truncated: m.counter("deadletter_truncated_total", "Dead letters written without the whole record because it is too large for the topic."),
			Errors:    m.counter("deadletter_publish_errors_total", "Attempts to write dead letters that failed; each is retried."),
			Waiting:   m.gauge("deadletter_waiting", "Dead letters not yet acknowledged by Kafka; their offsets wait for it."),
		},
	}
	return s
}

// Namespace is the first word of every series of the service.
const Namespace = "contactsync"

func kindNames() []string {
	var names []string
	for _, k := range contactsync.Kinds() {
		names = append(names, k.String())
	}
	return names
}

func reasonNames() []string {
	var names []string
	for _, r := range contactsync.Reasons() {
		names = append(names, string(r))
	}
	return names
}

// maker registers each series as it makes it.
type maker struct{ reg prometheus.Registerer }

func (m maker) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: Namespace, Name: name, Help: help})
	m.reg.MustRegister(c)
	return c
}

func (m maker) counters(name, help, label string, known []string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: Namespace, Name: name, Help: help}, []string{label})
	m.reg.MustRegister(c)
	for _, v := range known {
		c.WithLabelValues(v)
	}
	return c
}

func (m maker) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: Namespace, Name: name, Help: help})
	m.reg.MustRegister(g)
	return g
}

func (m maker) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: Namespace, Name: name, Help: help}, labels)
	m.reg.MustRegister(g)
	return g
}

func (m maker) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: Namespace, Name: name, Help: help, Buckets: buckets})
	m.reg.MustRegister(h)
	return h
}
