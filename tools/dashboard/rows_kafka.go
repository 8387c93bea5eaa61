package main

// The panels about what is set aside, about Kafka, and about the process.

var setAside = []panel{
	{
		title: "Which streams are on hold?", kind: graph, w: 8, h: 8, unit: "none", stack: true,
		help:    "Streams on hold, by account and kind: the API refuses the credentials (unauthorized), does not know the stream (stream_gone), contradicts itself whatever the row (contract), or rejects too many rows (rejecting). Of kind alone they are contacts that are refused while others of their stream are accepted. End the cause and release them, or set aside what waits.",
		see:     "runbook.md#contactsyncstreamsonhold",
		queries: []query{{`sum by (account, kind) (contactsync_batcher_streams_on_hold{@a}) > 0 or sum by (account, kind) (contactsync_batcher_contacts_on_hold{@a, kind="alone"}) > 0`, "{{account}}: {{kind}}"}},
		none:    "None",
	},
	{
		title: "How many events wait behind holds?", kind: graph, w: 8, h: 8, unit: "short", stack: true,
		help: "Events of streams on hold. Those that are to be read again are only in Kafka, since holds may take half of a window; keep the retention of the topic well above the longest hold.",
		see:  "holds.md#a-stream-on-hold",
		queries: []query{
			{`sum by (account, kind) (contactsync_batcher_events_on_hold{@a}) > 0`, "{{account}}: {{kind}}"},
			{`sum(max by (namespace, job, topic, partition) (contactsync_consumer_parked_records{@}))`, "of these, to be read again"},
		},
	},
	{
		title: "How long do holds last?", kind: graph, w: 8, h: 8, unit: "s",
		help:    "Age of the oldest hold, by account and kind. A hold ends by itself once a probe of its stream passes; one that lasts needs a decision before the retention of the topic is over.",
		see:     "runbook.md#contactsyncstreamsonhold",
		queries: []query{{`max by (account, kind) (contactsync_batcher_oldest_hold_age_seconds{@a}) > 0`, "{{account}}: {{kind}}"}},
		none:    "None",
	},
	{
		title: "Why were dead letters written?", kind: graph, w: 8, h: 8, unit: "none", stack: true,
		help:    "Dead letters written within fifteen minutes, by reason, as the alert counts them. Look at them by contactsync dlq stats, end the cause, then replay them.",
		see:     "runbook.md#contactsyncdeadletters",
		queries: []query{{`sum by (reason) (contactsync:deadletters:increase15m{@}) > 0`, "{{reason}}"}},
		none:    "None, or files/rules.yaml is not loaded",
	},
	{
		title: "Are dead letters written?", kind: graph, w: 8, h: 8, unit: "none",
		help: "Dead letters that Kafka does not have yet, and attempts to write them that failed in a minute. If the first stays above zero, the topic is missing or may not be written; offsets behind them are not committed.",
		see:  "runbook.md#contactsyncdeadlettersnotwritten",
		queries: []query{
			{`sum(contactsync_deadletter_pending{@})`, "not written yet"},
			{`sum(rate(contactsync_deadletter_publish_errors_total{@}[$__rate_interval])) * 60`, "failed attempts a minute"},
		},
	},
	{
		title: "Are held streams tried again?", kind: graph, w: 8, h: 8, unit: "none",
		help: "Probes of streams on hold that the API refused, rejections after which rows were kept for another try, since too many are rejected or to try others first, and decisions of operators, each within fifteen minutes. Probes that are refused on and on cost calls: decide about the stream.",
		see:  "holds.md#a-stream-on-hold",
		queries: []query{
			{`sum by (kind) (increase(contactsync_batcher_hold_probes_refused_total{@}[15m]))`, "probes refused: {{kind}}"},
			{`sum(increase(contactsync_batcher_rejected_rows_retained_total{@}[15m]))`, "rejected rows kept"},
			{`sum by (decision) (increase(contactsync_batcher_hold_decisions_total{@}[15m]))`, "decided: {{decision}}"},
		},
	},
}

var kafka = []panel{
	{
		title: "Which partitions are behind?", kind: graph, w: 12, h: 8, unit: "short",
		help:    "Records from where reading would begin after a restart to the end, of the ten partitions where they are most. A single one behind has a hot contact, or is not read: look at its state. All of them: a stream on hold, whose events stay behind in each partition that has any, or the calls are the limit; or offsets are not committed.",
		see:     "operations.md#the-states-of-a-partition",
		queries: []query{{`topk(10, max by (topic, partition) (contactsync_consumer_lag_records{@}))`, "{{topic}}/{{partition}}"}},
	},
	{
		title: "Which partitions are not read, and why?", kind: states, w: 12, h: 8, unit: "none",
		help:    "Partitions whose owner cannot read them, with their state. Halted and feed_halted wait for a decision; forbidden needs a right; unavailable and missing are for Kafka's operators. Other partitions go on.",
		see:     "runbook.md#contactsyncpartitionnotread",
		queries: []query{{`max by (topic, partition, state) (` + notRead + `) > 0`, "{{topic}}/{{partition}}: {{state}}"}},
		texts:   []text{{0, "", green}, {1, "not read", red}},
		none:    "All are read",
	},
	{
		title: "In which state are the partitions?", kind: graph, w: 8, h: 8, unit: "none", stack: true,
		help:    "Partitions by state. Waiting means that the window is full; catching_up, that what was there at assignment is read first. Fewer in all than the topics have: some are not assigned.",
		see:     "operations.md#the-states-of-a-partition",
		queries: []query{{`sum by (state) (max by (namespace, job, topic, partition, state) (contactsync_consumer_partition_state{@})) > 0`, "{{state}}"}},
		none:    "None is assigned",
	},
	{
		title: "Who owns how many partitions?", kind: graph, w: 8, h: 8, unit: "none", stack: true,
		help:    "Partitions assigned to each replica. Zero for one: there are more replicas than partitions. Zero for all: the group is not joined, and nothing is read.",
		see:     "runbook.md#contactsyncnoassignment",
		queries: []query{{`sum by (instance) (contactsync_consumer_assigned_partitions{@})`, "{{instance}}"}},
	},
	{
		title: "How often does the group rebalance?", kind: graph, w: 8, h: 8, unit: "none",
		help: "Generations joined by a replica, failed attempts to join or stay, and drains that ran out of time, within fifteen minutes. A steady rate without deployments points to replicas that come and go, or to a session_timeout that is too short.",
		see:  "operations.md#replicas-that-keep-their-partitions",
		queries: []query{
			{`max(increase(contactsync_consumer_rebalances_total{@}[15m]))`, "rebalances"},
			{`sum(increase(contactsync_consumer_group_errors_total{@}[15m]))`, "failed attempts"},
			{`sum(increase(contactsync_consumer_drain_timeouts_total{@}[15m]))`, "drains out of time"},
		},
	},
	{
		title: "Are offsets committed?", kind: graph, w: 8, h: 8, unit: "cps",
		help:    "Commits per second, by result. Refused at a rebalance is normal. Errors without any ok: Kafka is away, and a restart repeats the calls since. Forbidden: a right is missing.",
		see:     "runbook.md#contactsynccommitsfailing",
		queries: []query{{`sum by (result) (rate(contactsync_consumer_commits_total{@}[$__rate_interval]))`, "{{result}}"}},
	},
	{
		title: "How long ago was each partition committed?", kind: graph, w: 8, h: 8, unit: "s",
		help: "Time since the last commit, or since the assignment where none was taken, of the ten partitions where it is longest and something is not completed. It grows behind a hold or a dead letter that is not written, and where commits fail.",
		see:  "runbook.md#contactsynccommitsfailing",
		queries: []query{{
			`topk(10, (time() - max by (topic, partition) (contactsync_consumer_last_commit_timestamp_seconds{@})) and (max by (topic, partition) (contactsync_consumer_lag_records{@}) > 0))`,
			"{{topic}}/{{partition}}",
		}},
		none: "All is committed",
	},
	{
		title: "Do fetches fail, or were events lost?", kind: graph, w: 8, h: 8, unit: "none",
		help: "Failed fetches a minute, by cause, and within an hour: offsets that Kafka deleted before they were read, offsets set aside, and feeds that cannot be read. A few failures at a change of leader are normal. Lost events have to be sent again by their producer.",
		see:  "runbook.md#contactsyncoffsetslost",
		queries: []query{
			{`sum by (reason) (rate(contactsync_consumer_fetch_errors_total{@}[$__rate_interval])) * 60 > 0`, "fetch: {{reason}}"},
			{`sum(contactsync:offsets_lost:increase1h{@})`, "offsets lost"},
			{`sum(contactsync:offsets_set_aside:increase1h{@})`, "offsets set aside"},
			{`sum(contactsync:unreadable_feeds:increase1h{@})`, "unreadable feeds"},
		},
		none: "Load files/rules.yaml",
	},
}

var process = []panel{
	{
		title: "Which versions run?", kind: graph, w: 8, h: 8, unit: "none", stack: true,
		help:    "Replicas that are scraped, by version. Two versions for longer than a rollout: it is stuck. Fewer replicas than were deployed: look at their pods.",
		see:     "runbook.md#contactsyncabsent",
		queries: []query{{`count by (version) (contactsync_build_info{@})`, "{{version}}"}},
		none:    "No replica is scraped",
	},
	{
		title: "How much CPU is used?", kind: graph, w: 8, h: 8, unit: "none",
		help:    "Cores used by each replica. If it is all that the container may use while events are late, more CPU or more replicas help, up to the number of partitions.",
		see:     "operations.md#freshness-as-an-objective",
		queries: []query{{`sum by (instance) (rate(process_cpu_seconds_total{@}[$__rate_interval]))`, "{{instance}}"}},
	},
	{
		title: "How much memory is used?", kind: graph, w: 8, h: 8, unit: "bytes",
		help: "Resident memory of each replica, and the limit that Go keeps to, nine tenths of the container's. At the limit the garbage collector takes the CPU: raise the limit, or lower batcher.window_bytes.",
		see:  "runbook.md#contactsyncwindowfull",
		queries: []query{
			{`sum by (instance) (process_resident_memory_bytes{@})`, "{{instance}}"},
			{`min(go_gc_gomemlimit_bytes{@} < 2 ^ 62)`, "limit"},
		},
	},
	{
		title: "How many goroutines are there?", kind: graph, w: 8, h: 8, unit: "none",
		help:    "Goroutines of each replica. It follows partitions, accounts and requests in flight; if it grows without end, keep a profile (admin.pprof) and report it.",
		see:     "operations.md#the-admin-port",
		queries: []query{{`sum by (instance) (go_goroutines{@})`, "{{instance}}"}},
	},
	{
		title: "When do certificates and tokens end?", kind: graph, w: 8, h: 8, unit: "s",
		help: "Time until the certificates of Kafka and of the API end, and a static token of an account, by the setting that names the file. Below the line the alert fires. Put new files in their place: they are taken up without a restart.",
		see:  "runbook.md#contactsynccertificateexpiring",
		queries: []query{{
			`min by (setting) (contactsync_consumer_certificate_expiry_timestamp_seconds{@} or contactsync_upstream_certificate_expiry_timestamp_seconds{@} or contactsync_upstream_credentials_expiry_timestamp_seconds{@}) - time()`,
			"{{setting}}",
		}},
		steps: []step{{threshold: "expirySeconds", color: green}}, none: "There are none",
	},
	{
		title: "Are changed files refused?", kind: graph, w: 8, h: 8, unit: "none",
		help: "Readings of changed credential and certificate files that could not be used, within fifteen minutes. By the setting that names the file. What was read before stays in use; the log says what is wrong.",
		see:  "runbook.md#contactsyncfilesrefused",
		queries: []query{{
			`sum by (setting) (increase(contactsync_upstream_files_refused_total{@}[15m]) or increase(contactsync_consumer_files_refused_total{@}[15m]))`,
			"{{setting}}",
		}},
	},
}
