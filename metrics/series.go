package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
)

// New registers every series on reg. It panics where one is registered already,
// which is a mistake in the wiring.
func New(reg prometheus.Registerer) *Set { return newSet(&maker{reg: reg}) }

func newSet(m *maker) *Set {
	return &Set{
		Consumer:   newConsumer(m),
		Batcher:    newBatcher(m),
		Upstream:   newUpstream(m),
		DeadLetter: newDeadLetter(m),
	}
}

// Labels whose values are known only at run time.
var (
	account   = Label{Name: "account", Help: "the id of an account, as in `upstream.accounts`"}
	file      = Label{Name: "setting", Help: "the setting that names the file, as `upstream.accounts[0].credentials.client_secret_file`"}
	host      = Label{Name: "host", Help: "a host of the API, with its port where it has one"}
	topic     = Label{Name: "topic", Help: "a topic of `consumer.topics`"}
	partition = Label{Name: "partition", Help: "the number of a partition"}
)

func newConsumer(m *maker) Consumer {
	return Consumer{
		Records: m.counters("consumer_records_total",
			"Records read, by what they turned out to be.",
			"Records that are undecodable, invalid or unmapped become dead letters: alert on their rate.", Label{Name: "result", Values: RecordResults}),
		FetchedBytes: m.counter("consumer_fetched_bytes_total",
			"Bytes of keys and values read from Kafka.", ""),
		FetchErrors: m.counters("consumer_fetch_errors_total",
			"Fetches that failed, by cause. Each is retried.",
			"A few at a change of leader are normal. With `decode` the partition makes no progress, or what is to be read again of streams on hold does not; the log names the offset.", Label{Name: "reason", Values: FetchReasons}),
		ControlBatches: m.counter("consumer_control_batches_total",
			"Transaction markers skipped.", ""),
		AbortedRecords: m.counter("consumer_aborted_records_total",
			"Records of aborted transactions skipped.", ""),
		Rebalances: m.counter("consumer_rebalances_total",
			"Generations of the consumer group that this replica joined, its first included.",
			"A steady rate without deployments points to replicas that come and go, or to a `session_timeout` that is too short."),
		GroupErrors: m.counter("consumer_group_errors_total",
			"Failed attempts to join the consumer group or to stay in it. Each is retried.", ""),
		Assigned: m.gauge("consumer_assigned_partitions",
			"Partitions assigned to this replica.",
			"0 for long means more replicas than partitions, or no membership."),
		MissingTopics: m.gauge("consumer_missing_topics",
			"Topics of `consumer.topics` that do not exist, or that the service may not see. The others are read.",
			"Alert where it lasts above 0; `/status` names them."),
		FilesRefused: m.counters("consumer_files_refused_total",
			"Readings of certificate, key and password files for Kafka that could not be used: the previous ones stay in use.",
			"Alert while it grows: a rotation went wrong, and the log says why.", file),
		CatchingUp: m.gauge("consumer_catching_up_partitions",
			"Assigned partitions not yet read up to the end that they had at assignment.", ""),
		Commits: m.counters("consumer_commits_total",
			"Offset commits, by result.",
			"`refused` at a rebalance is normal: the next owner reads the events again. Where `forbidden` grows a right is missing, and the log says which.", Label{Name: "result", Values: CommitResults}),
		ProgressIgnored: m.counters("consumer_progress_ignored_total",
			"Committed offsets whose record of what ended beyond them was not believed, by reason. Those events are sent again.",
			"`other_offset` is normal after an operator has reset offsets, `foreign` after another consumer had the group.", Label{Name: "reason", Values: Ignored}),
		ProgressCut: m.counter("consumer_progress_cut_total",
			"Commits with which not all of what ended beyond the offset could be kept. After a crash the rest is sent again.", ""),
		OffsetsLost: m.counters("consumer_offsets_lost_total",
			"Offsets that Kafka deleted before they were read, or that were committed or read beyond where its log was cut off; 1 for a topic that was recreated.",
			"Alert on any increase: events were lost in Kafka, or a topic was recreated.", Label{Name: "reason", Values: LostReasons}),
		OffsetsSetAside: m.counters("consumer_offsets_set_aside_total",
			"Offsets of record batches that could not be read, and were set aside by an operator or by `consumer.on_unreadable_batch`.",
			"Each batch is a dead letter with the reason `unreadable`, which names its offsets; its events were not sent.", Label{Name: "reason", Values: BatchFaults}),
		UnreadableFeeds: m.counters("consumer_unreadable_feeds_total",
			"Times that most of the last events of a partition could not be read, by `consumer.on_unreadable_feed`.",
			"Alert on any increase: a topic holds another format, or a producer has changed. The log names the first event and what the feed looks like; [operations.md](operations.md#a-feed-that-cannot-be-read) says what to do.", Label{Name: "policy", Values: FeedPolicies}),
		Halted: m.gauge("consumer_halted_partitions",
			"Assigned partitions that wait for an operator's decision.",
			"Alert on more than 0; the log names the partition and the setting that decides."),
		DrainTimeouts: m.counter("consumer_drain_timeouts_total",
			"Rebalances and stops at which requests in flight were abandoned at `drain_timeout`.",
			"Their events are read again by the next owner, and their contacts may be sent twice."),
		PendingRecords: m.gauges("consumer_pending_records",
			"Records read and not yet completed.", "", topic, partition),
		ParkedRecords: m.gauges("consumer_parked_records",
			"Records that are not kept because what is on hold had its part of the window, and are to be read again.",
			"Keep the retention of the topic well above the longest hold: what it deletes meanwhile is lost, and counted in `contactsync_consumer_offsets_lost_total`.", topic, partition),
		RecordsReread: m.counter("consumer_records_reread_total",
			"Records that were read again after they had not been kept.", ""),
		Lag: m.gauges("consumer_lag_records",
			"Records between where reading would begin after a restart and the end of the partition: from the committed offset, or from the start of the partition if nothing was committed, or what was does not exist.",
			"Absent where Kafka does not say that. Grows while the API is unavailable or the budget is too small: see `contactsync_upstream_requests_total`; and while no commit is taken: see `contactsync_consumer_commits_total`.", topic, partition),
		UnreadRecords: m.gauges("consumer_unread_records",
			"Records between the read position and the end of the partition.",
			"With `contactsync_batcher_events_waiting` less `contactsync_batcher_events_on_hold` and `contactsync_batcher_events_unwritten`, summed over replicas, this is the work that is left: autoscaling may use it, where the budget is not the limit. Absent where Kafka does not say where the partition ends.", topic, partition),
		LastCommit: m.gauges("consumer_last_commit_timestamp_seconds",
			"When an offset of the partition was last committed by this replica; before the first commit, when the partition was assigned to it.",
			"Where it stands still while the lag is not 0, see `contactsync_consumer_commits_total`.", topic, partition),
		CertificateExpiry: m.gauges("consumer_certificate_expiry_timestamp_seconds",
			"When the certificates of a file for Kafka end: the service's own, or the last of the roots. Absent where there are no such files.",
			"Put new ones in their place before; they are taken up without a restart.", file),
		CommittedOffset: m.gauges("consumer_committed_offset",
			"Last offset committed by this replica; -1 before the first commit.", "", topic, partition),
		ReadOffset: m.gauges("consumer_read_offset",
			"Next offset to read.", "", topic, partition),
		PartitionState: m.gauges("consumer_partition_state",
			"1 for the state that an owned partition is in, 0 for the others.",
			"Alert where `unavailable`, `forbidden`, `missing`, `halted` or `feed_halted` lasts: nothing of the partition is read; and on `feed_skipped`. `/status` has the reason.", topic, partition, Label{Name: "state", Values: States}),
	}
}

func newBatcher(m *maker) Batcher {
	hold := Label{Name: "kind", Values: HoldKinds}
	return Batcher{
		Bytes: m.gauge("batcher_window_bytes",
			"Bytes held in the window.", ""),
		BytesLimit: m.gauge("batcher_window_limit_bytes",
			"Bytes that the window may hold before fetching pauses: `batcher.window_bytes`.", ""),
		Full: m.gauge("batcher_window_full",
			"1 while the window is full and fetching pauses, else 0.",
			"With the API in good order, raise `window_bytes` or the budget."),
		FullSeconds: m.counter("batcher_window_full_seconds_total",
			"Seconds for which the window was full and fetching paused, looked at once a second.",
			"Alert on its rate: above 0.5 for some minutes the service reads slower than it could. Where `contactsync_batcher_window_hold_bytes` is half of the window, decide about the streams on hold."),
		PendingContacts: m.gauge("batcher_pending_contacts",
			"Contacts not delivered yet, those in flight included.", ""),
		OldestPendingAge: m.gauges("batcher_oldest_pending_age_seconds",
			"Age of the oldest event not yet completed, by its Kafka timestamp and by what it waits for: to be sent (active), in a stream on hold, or as a dead letter that Kafka does not have yet; 0 without any.",
			"The delay of delivery is `active`. Alert when it exceeds what your users accept; keep the others well below the retention of the topic.", Label{Name: "state", Values: WaitStates}),
		ActiveStreams: m.gauge("batcher_active_streams",
			"Streams with contacts that are not delivered yet, those in flight included.", ""),
		StreamsBackingOff: m.gauge("batcher_streams_backing_off",
			"Streams waiting to retry after a failed request.", ""),
		InFlightRequests: m.gauge("batcher_in_flight_requests",
			"Requests in flight.", ""),
		InFlightLimit: m.gauges("batcher_in_flight_limit_requests",
			"Requests of the account that may be in flight, as its budget and the time that they take call for, within `batcher.max_in_flight`.",
			"Where as many are in flight while the budget has calls left, `batcher.max_in_flight` is too low.", account),
		InFlightRows: m.gauge("batcher_in_flight_rows",
			"Rows in flight.", ""),
		SlotsBusySeconds: m.counters("batcher_slots_busy_seconds_total",
			"Seconds in which contacts were ready to be sent and all requests that the account may have in flight were.",
			"Near 1 per second, the API is slow for what is to be sent: see `contactsync_upstream_request_duration_seconds`, and raise `batcher.max_in_flight` if it can take more.", account),
		LastDelivery: m.gauges("batcher_last_delivery_timestamp_seconds",
			"When a contact of the account was last delivered; absent before.", "", account),
		Events: m.events(),
		Skipped: m.counters("batcher_events_skipped_total",
			"Events skipped because there is nothing to send, by reason.",
			"A high rate of `stale` means that producers write out of order. `unnamed_tombstone` is a tombstone whose key names no contact, so it deletes nothing: the log names one a minute.", Label{Name: "reason", Values: SkipReasons}),
		Late: m.counter("batcher_late_results_total",
			"Results that arrived after the partition was revoked. They complete nothing.", ""),
		Batches: m.counters("batcher_batches_total",
			"Batches formed, by what made them ready to send.",
			"Mostly `rows` or `bytes`: requests are full. Mostly `linger`: traffic is light.", Label{Name: "reason", Values: BatchReasons}),
		Rows: m.histogram("batcher_batch_rows",
			"Rows per batch.", "", []float64{1, 2, 5, 10, 25, 50, 75, 100, 150, 250, 500, 1000}),
		RowsRetried: m.counters("batcher_rows_retried_total",
			"Rows to be sent again, by the kind of the answer.", "", Label{Name: "kind", Values: kindNames()}),
		RejectedRowsRetained: m.counter("batcher_rejected_rows_retained_total",
			"Rejections after which the row was kept instead of becoming a dead letter: its account has exceeded its dead-letter limits, or others are tried first, to tell whether it is the row. A row counts each time that it is rejected.",
			"A few come with each row that is refused. Where it goes on, something is wrong with the API or with the feed as a whole: see [holds.md](holds.md)."),
		StreamsOnHold: m.gauges("batcher_streams_on_hold",
			"Streams on hold: the API refuses the credentials, does not know the stream, contradicts itself whatever the row, or rejects too many rows; or only what signs for them is on hold (`credential`). Of the kinds `alone` and `failing` there are contacts only.",
			"Alert on more than 0 for some minutes; `/status` names the streams, [holds.md](holds.md) says what to do.", account, hold),
		ContactsOnHold: m.gauges("batcher_contacts_on_hold",
			"Contacts pending in streams on hold, and those that wait although they were refused, or failed, alone while others of their stream are accepted (`alone`). Of kind `failing` they are on hold only as to the window: the last request of their stream failed, or it may be the next to, or they are tried apart from the others of it.", "Of kind `alone`: correct or delete them at their source, see [holds.md](holds.md).", account, hold),
		EventsOnHold: m.gauges("batcher_events_on_hold",
			"Events behind these contacts, and those that are to be read again; none of kind `failing`, which are a backlog.",
			"Leave them out of what autoscaling looks at: no replica more sends them.", account, hold),
		BytesOnHold: m.gauges("batcher_window_hold_bytes",
			"Bytes of the window that these contacts take.",
			"At most half of `contactsync_batcher_window_limit_bytes`, or little more, unless tens of thousands of streams were each refused; what comes beyond that is read again later, see `contactsync_consumer_parked_records`.", account, hold),
		OldestHoldAge: m.gauges("batcher_oldest_hold_age_seconds",
			"Age of the oldest hold, of kind `alone` of the contact that waits for longest, of kind `failing` how long a stream fails; 0 without any.",
			"Keep it well below the retention of the topic.", account, hold),
		EventsParked: m.counter("batcher_events_parked_total",
			"Events that were not kept, because what is on hold had its half of the window. They are read again when their stream is no longer on hold, those of contacts that are tried alone, and some of streams that fail, from time to time; one that is left again counts again.",
			"`contactsync_consumer_parked_records` has how many wait."),
		AccountsOnHold: m.gauge("batcher_accounts_on_hold",
			"Accounts on hold as a whole: several of their streams were refused in a row, or answers contradict themselves whatever the contact.",
			"Check the credentials of the account, or with streams on hold as `contract` the API's answers."),
		HoldDecisions: m.counters("batcher_hold_decisions_total",
			"Decisions of operators about streams on hold: `contactsync hold release` and `contactsync hold set-aside`.", "", Label{Name: "decision", Values: HoldDecisions}),
		ProbesRefused: m.counters("batcher_hold_probes_refused_total",
			"Probes of streams on hold that the API refused.", "", hold),
		RequestMaxRows: m.gauges("batcher_request_max_rows",
			"Most rows in a request: `batcher.max_rows`, or less as learned from answers and failures.",
			"Where it stays below the setting, lower the setting to it.", account),
		RequestMaxBytes: m.gauges("batcher_request_max_bytes",
			"Most bytes in a request: `batcher.max_bytes`, or less as learned from answers and failures.",
			"Where it stays below the setting, lower the setting to it.", account),
		HintsIgnored: m.counters("batcher_order_hints_ignored_total",
			"Order hints of events that were not used: `version` or `occurredAt` cannot be read, or `occurredAt` lies more than five minutes ahead of the record's Kafka time or of now. The events themselves are taken, in the order in which they are read.",
			"Alert on a steady rate: a late event of such a producer is not noticed. The log names a stream and an offset once a minute.", Label{Name: "reason", Values: IgnoredHints}),
		RememberedContacts: m.gauge("batcher_remembered_contacts",
			"Contacts whose newest accepted state is remembered, at most `batcher.remember_contacts`.", ""),
		ContactsRepartitioned: m.counter("batcher_contacts_repartitioned_total",
			"Events whose contact was last seen in another partition. There is no order between the two.",
			"Normal for a while after partitions were added; else key the topic by contact or by stream."),
		ContactsRespelled: m.counter("batcher_contacts_respelled_total",
			"Events whose contact was pending with its id, of 24 hexadecimal digits, in other case. Both mean one contact.",
			"Each spelling costs a request of its own: have all producers write ids in one case."),
	}
}

func newUpstream(m *maker) Upstream {
	return Upstream{
		Requests: m.counters("upstream_requests_total",
			"Requests to the API, by account, the kind of the answer and what they were for: contacts that were not sent before (delivery), some that were (retry), rows that are sent apart to find those at fault (isolation), and streams or accounts on hold (probe).",
			"The kinds are explained in [answers.md](answers.md). Alert on the ratio of kinds other than `answered`. Where most calls are not for `delivery`, see [holds.md](holds.md).", account, Label{Name: "kind", Values: kindNames()}, Label{Name: "purpose", Values: purposeNames()}),
		Redials: m.counters("upstream_redials_total",
			"Requests that were made once more, on a new connection, because the connection that they were sent on had been used before and ended without a byte of an answer. Each is one more call, which the budget is charged for; the host is not counted as failing for it.",
			"A high rate means that something between here and the API closes idle or used connections without a word. It costs calls: have it keep them for more than 30 s, or say `Connection: close`.", account),
		Duration: m.histograms("upstream_request_duration_seconds",
			"Time from the start of a request to the end of its answer.", "",
			[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}, account),
		Rows: m.counters("upstream_rows_total",
			"Rows answered, by result. An unresolved row is one that the answer does not account for, or contradicts itself about.", "", account, Label{Name: "result", Values: RowResults}),
		AnswerIDs: m.counters("upstream_answer_ids_total",
			"How answers account for the contacts of their requests: asked, answered (named once, or accounted for by counters), missing, repeated (named twice, or as done and as failed), unknown (records that name no contact of the request) and respelled (named in other case).",
			"Anything but `asked` and `answered` means that the API's answers do not fit its requests: the log says so once a minute, and `upstream.answer` has the paths at which ids are looked for.", account, Label{Name: "ids", Values: AnswerIDs}),
		TokensIssued: m.counters("upstream_tokens_issued_total",
			"Tokens signed.", "", account),
		CredentialsLoaded: m.gauges("upstream_credentials_loaded_timestamp_seconds",
			"When the credential files in use were read, or last read with other content.", "", account),
		CredentialsExpiry: m.gauges("upstream_credentials_expiry_timestamp_seconds",
			"When the token in a static_token_file ends, where it says so.",
			"Put a new one in its place before.", account, file),
		CertificateExpiry: m.gauges("upstream_certificate_expiry_timestamp_seconds",
			"When the certificates of a file for the API end: the service's own, or the last of the roots. Absent where there are no such files.",
			"Put new ones in their place before; they are taken up without a restart.", file),
		FilesRefused: m.counters("upstream_files_refused_total",
			"Readings of credential and certificate files for the API that could not be used: the previous ones stay in use.",
			"Alert while it grows: a rotation went wrong, and the log says why.", file),
		Breaker: m.gauges("upstream_circuit_breaker_state",
			"State of the circuit breaker of a host: 0 closed, 1 half-open, 2 open.",
			"Alert on 2 for some minutes: the host is down.", host),
		BudgetLimit: m.gauges("upstream_budget_limit_requests",
			"Requests per window that the account may make, all replicas together, as configured. Absent, as the other series of a budget, where none is set.", "", account),
		BudgetWindow: m.gauges("upstream_budget_window_seconds",
			"Length of the budget's window, as configured.", "", account),
		BudgetPart: m.gauges("upstream_budget_part_ratio",
			"This replica's part of the budget: that of the partitions that it owns.", "", account),
		BudgetLearned: m.gauges("upstream_budget_learned_ratio",
			"What throttling has left of the budget: 1 without any, 0.2 at least.",
			"Below 1 for long, the API's limit is lower than the budget, or something else uses it too.", account),
		BudgetShare: m.gauges("upstream_budget_share_requests",
			"Requests per window that this replica may make: limit, part and what was learned, multiplied.", "", account),
		BudgetRefill: m.gauges("upstream_budget_refill_requests",
			"Of these, the requests per window that it may go on making while work is left: the others are for a burst after a pause.", "", account),
		BudgetUsed: m.counters("upstream_budget_used_requests_total",
			"Requests that were charged to the budget.", "", account),
		BudgetRemaining: m.gauges("upstream_budget_remaining_requests",
			"Requests that the account may start now.",
			"0 while the lag grows and most requests are answered: the budget is the limit. Raise it if the API allows more.", account),
		BlockedSeconds: m.counters("upstream_blocked_seconds_total",
			"Seconds in which contacts were ready to be sent and the account's gate let no request start, by cause: its budget is used up, the API asked to wait (throttled), or the circuit breaker of its host is not closed.",
			"The cause with the highest rate is what limits the account; 1 is all of the time.", account, Label{Name: "cause", Values: BlockCauses}),
		ThrottleRemaining: m.gauges("upstream_throttle_remaining_seconds",
			"Time until the account may send again, as asked by the API; 0 when it is not throttled.",
			"More than 0 often means that the budget is larger than the API's limit, or that something else uses the limit too.", account),
	}
}

func newDeadLetter(m *maker) DeadLetter {
	return DeadLetter{
		Published: m.counters("deadletter_published_total",
			"Dead letters acknowledged by Kafka, by reason.",
			"Alert on any increase; `contactsync dlq` shows them, [deadletters.md](deadletters.md) explains the reasons.", Label{Name: "reason", Values: reasonNames()}),
		Truncated: m.counter("deadletter_truncated_total",
			"Dead letters written without the whole record, because it is too large for the topic.",
			"Raise `max.message.bytes` of the dead-letter topic."),
		Errors: m.counter("deadletter_publish_errors_total",
			"Failed attempts to write dead letters. Each is retried.", ""),
		Pending: m.gauge("deadletter_pending",
			"Dead letters not yet acknowledged by Kafka. The offsets of their events are not committed before.",
			"Alert on more than 0 for some minutes: the dead-letter topic cannot be written."),
	}
}

// buildInfo is apart from the set because only the program knows its version.
func buildInfo(m *maker) *prometheus.GaugeVec {
	return m.gauges("build_info", "Always 1; the labels identify the build.", "",
		Label{Name: "version", Help: "the release, or dev and the revision"},
		Label{Name: "revision", Help: "the commit; empty where it is not known"},
		Label{Name: "goversion", Help: "the version of Go"})
}

// RegisterBuildInfo registers the series that identifies the build.
func RegisterBuildInfo(reg prometheus.Registerer, version, revision, goVersion string) {
	buildInfo(&maker{reg: reg}).WithLabelValues(version, revision, goVersion).Set(1)
}

func kindNames() []string {
	var names []string
	for _, k := range contactsync.Kinds() {
		names = append(names, k.String())
	}
	return names
}

func purposeNames() []string {
	var names []string
	for _, p := range contactsync.Purposes() {
		names = append(names, p.String())
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
