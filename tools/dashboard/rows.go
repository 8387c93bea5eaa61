package main

// rows is the whole dashboard, from the first question that somebody on call has to the
// details of the process.
var rows = []row{
	{"Are we keeping up? If not, who is holding us?", append(verdict, holding...)},
	{"Flow: what comes in, what goes out, what waits", flow},
	{"Calls and budget", calls},
	{"Freshness: how late deliveries are", freshness},
	{"Holds and dead letters", setAside},
	{"Kafka", kafka},
	{"The process", process},
}

// The colors of an age, as the alerts have them.
var late = []step{{threshold: "lateSeconds", color: orange}, {threshold: "oldestSeconds", color: red}}

// notRead is 1 for each partition that is owned and has not been read for a while. A leader
// that moves is over sooner.
const notRead = `min_over_time(contactsync_consumer_partition_state{@, state=~"unavailable|forbidden|missing|halted|feed_halted"}[$__rate_interval])`

// notAssigned is 1 where no replica has had a partition for a while. In a rebalance all are
// without any for a moment.
const notAssigned = `sum(max_over_time(contactsync_consumer_assigned_partitions{@}[$__rate_interval])) == bool 0`

const deliveredAges = `rate(contactsync_batcher_event_age_seconds_bucket{@, outcome=~"delivered|superseded"}[$__rate_interval])`

var verdict = []panel{
	{
		title: "Are we keeping up?", kind: stats, w: 4, h: 4, unit: "none",
		help: "Yes: no event that is to be sent is older than the bound. Behind: one is. Stuck: one has waited for long, and none is completed. Not all is read: a partition, or none is assigned. " +
			"Streams on hold do not count. If it is not yes, the timeline below says who is holding us.",
		see: "runbook.md#contactsyncnotmoving",
		queries: []query{{expr: `
max(
  label_replace(max(contactsync_batcher_oldest_pending_age_seconds{@, state="active"}) > bool <lateSeconds>, "why", "behind", "", "")
  or
  label_replace(2 * (max(contactsync_batcher_oldest_pending_age_seconds{@, state="active"}) > bool <notMovingSeconds>)
    * (sum(rate(contactsync_batcher_events_completed_total{@}[$__rate_interval])) == bool 0), "why", "stuck", "", "")
  or
  label_replace(3 * max(` + notRead + `), "why", "not read", "", "")
  or
  label_replace(3 * (` + notAssigned + `), "why", "not assigned", "", "")
)`, legend: "keeping up"}},
		texts: []text{{0, "Yes", green}, {1, "Behind", orange}, {2, "Stuck", red}, {3, "Not all is read", red}},
		none:  "No replica is scraped",
	},
	{
		title: "Oldest event to be sent", kind: stats, w: 4, h: 4, unit: "s",
		help: "Age of the oldest event that waits to be sent, holds and dead letters left out. It grows by a second per second where nothing is done about that event, and falls while a backlog is worked off. " +
			"If it grows, look at the timeline below.",
		see:     "runbook.md#contactsyncoldesttooold",
		queries: []query{{`max(contactsync_batcher_oldest_pending_age_seconds{@, state="active"})`, "oldest"}},
		steps:   late, none: "No replica is scraped",
	},
	{
		title: "99 % of deliveries within", kind: stats, w: 4, h: 4, unit: "s",
		help: "Of the events delivered just now, 99 % were younger than this. If it is beyond the bound, the error budget burns: see the row on freshness.",
		see:  "runbook.md#contactsynctoooldfast",
		queries: []query{{
			`histogram_quantile(0.99, sum by (le) (` + deliveredAges + `)) >= 0`, "99 %",
		}},
		steps: late, none: "Nothing was delivered",
	},
	{
		title: "In and out, per second", kind: stats, w: 4, h: 4, unit: "none",
		help: "Events taken in and events completed. If more comes in than is completed for long, work piles up: the timeline below says what limits it.",
		see:  "operations.md#freshness-as-an-objective",
		queries: []query{
			{`sum(rate(contactsync_batcher_events_consumed_total{@}[$__rate_interval]))`, "in"},
			{`sum(rate(contactsync_batcher_events_completed_total{@}[$__rate_interval]))`, "out"},
		},
		none: "No replica is scraped",
	},
	{
		title: "How much is left to do?", kind: stats, w: 4, h: 4, unit: "short",
		help: "Events not yet read and events that wait to be sent, those on hold, and of dead letters that are not written, left out. If it grows, see what limits the calls; more replicas help only if slots or CPU are the limit.",
		see:  "operations.md#freshness-as-an-objective",
		queries: []query{{
			`sum(contactsync:backlog_records:sum{@})`, "events",
		}},
		none: "Load files/rules.yaml",
	},
	{
		title: "How many alerts fire?", kind: stats, w: 4, h: 4, unit: "none",
		help:    "Alerts of contactsync that fire. Each has a heading of its name in the runbook.",
		see:     "runbook.md#runbook",
		queries: []query{{`count(ALERTS{@alerts}) or vector(0)`, "alerts"}},
		steps:   []step{{at: 1, color: red}},
	},
}

var holding = []panel{
	{
		title: "Who is holding us?", kind: states, w: 16, h: 9, unit: "percentunit",
		help: "For each cause the share of time in which it held up calls or reading, on the replica and account where it was worst. " +
			"Budget: the account has no calls left; raise it, or see what the calls are for. Throttling: the API asks us to wait. Circuit breaker: the API fails. " +
			"Slow API: as many requests as allowed are in flight. Failing streams: one that is not on hold waits to try again after its request failed; others go on. Window full: more is read than sent. Holds: the share of waiting events whose stream, or whose contact alone, the API refuses. " +
			"Kafka: partitions are not read, dead letters are not written, or no partition is assigned. While the panel above says yes, a cause slows nobody down: calls wait for a moment and carry more. All at no, and still late: it is a backlog being worked off, or the CPU.",
		see: "runbook.md#contactsyncnotmoving",
		queries: []query{
			{`max(rate(contactsync_upstream_blocked_seconds_total{@a, cause="budget"}[$__rate_interval]))`, "Budget"},
			{`max(rate(contactsync_upstream_blocked_seconds_total{@a, cause="throttled"}[$__rate_interval]))`, "Throttling"},
			{`max(rate(contactsync_upstream_blocked_seconds_total{@a, cause="breaker"}[$__rate_interval]))`, "Circuit breaker"},
			{`max(rate(contactsync_batcher_slots_busy_seconds_total{@a}[$__rate_interval])) or 0 * sum(contactsync_batcher_events_waiting{@})`, "Slow API"},
			{`
clamp_max(max(
  clamp_min(
    avg_over_time(contactsync_batcher_streams_backing_off{@}[$__rate_interval])
    - on (namespace, job, instance) sum by (namespace, job, instance) (avg_over_time(contactsync_batcher_streams_on_hold{@}[$__rate_interval])), 0)
  or on (namespace, job, instance) avg_over_time(contactsync_batcher_streams_backing_off{@}[$__rate_interval])
), 1)`, "Failing streams"},
			{`max(rate(contactsync_batcher_window_full_seconds_total{@}[$__rate_interval]))`, "Window full"},
			{`clamp_max((sum(contactsync_batcher_events_on_hold{@a}) / (sum(contactsync_batcher_events_waiting{@}) > 0)) or 0 * sum(contactsync_batcher_events_waiting{@}), 1)`, "Holds"},
			{`max(` + notRead + `) or 0 * sum(contactsync_consumer_assigned_partitions{@})`, "Kafka: partitions"},
			{`max(min_over_time(contactsync_deadletter_pending{@}[$__rate_interval])) > bool 0`, "Kafka: dead letters"},
			{notAssigned, "Kafka: assignment"},
		},
		texts: []text{{0, "no", green}, {0.1, "at times", yellow}, {0.5, "yes", red}},
		none:  "No replica is scraped",
	},
	{
		title: "Which alerts fire?", kind: states, w: 8, h: 9, unit: "none",
		help:    "Each alert of contactsync that fired, and when. Read its heading in the runbook: what it means, what it does to deliveries, where to look, what to do.",
		see:     "runbook.md#runbook",
		queries: []query{{`max by (alertname) (ALERTS{@alerts})`, "{{alertname}}"}},
		texts:   []text{{0, "", green}, {1, "fires", red}},
		none:    "None",
	},
}
