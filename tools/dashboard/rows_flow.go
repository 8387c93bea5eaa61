package main

// The panels between the broker and the API: events, requests, and what the API makes of them.

var flow = []panel{
	{
		title: "What comes in, and how does it end?", kind: graph, w: 12, h: 8, unit: "cps",
		help: "Events per second: taken in, and completed by outcome. Superseded were merged into a newer event of their contact, before had ended under an earlier owner. If more comes in than ends, see what limits the calls.",
		see:  "metrics.md#batcher",
		queries: []query{
			{`sum(rate(contactsync_batcher_events_consumed_total{@}[$__rate_interval]))`, "in"},
			{`sum by (outcome) (rate(contactsync_batcher_events_completed_total{@}[$__rate_interval]))`, "{{outcome}}"},
		},
	},
	{
		title: "What waits, and where?", kind: graph, w: 12, h: 8, unit: "short", stack: true,
		help: "Events not read yet, those that wait to be sent, those of streams on hold, and those of dead letters that Kafka does not have yet. Unread grows while a window is full or a partition is not read; waiting grows while calls are held up; on hold needs a decision; as dead letters, the topic for them.",
		see:  "operations.md#freshness-as-an-objective",
		queries: []query{
			{`sum(max by (namespace, job, topic, partition) (contactsync_consumer_unread_records{@}))`, "unread"},
			{`clamp_min(sum(contactsync_batcher_events_waiting{@}) - (sum(contactsync_batcher_events_on_hold{@}) or 0 * sum(contactsync_batcher_events_waiting{@})) - sum(contactsync_batcher_events_unwritten{@}), 0)`, "waiting to be sent"},
			{`sum(contactsync_batcher_events_on_hold{@})`, "on hold"},
			{`sum(contactsync_batcher_events_unwritten{@})`, "as dead letters not written"},
		},
	},
	{
		title: "How full are the windows?", kind: graph, w: 8, h: 8, unit: "percentunit",
		help: "Bytes held by each replica, as a share of what its window may hold, and the part of holds in it. At 1 reading pauses. If holds have half of it, decide about them; else it is the calls that are too slow.",
		see:  "runbook.md#contactsyncwindowfull",
		queries: []query{
			{`contactsync_batcher_window_bytes{@} / contactsync_batcher_window_limit_bytes{@}`, "{{instance}}"},
			{`sum by (instance) (contactsync_batcher_window_hold_bytes{@}) / sum by (instance) (contactsync_batcher_window_limit_bytes{@})`, "holds of {{instance}}"},
		},
		steps: []step{{at: 1, color: red}},
	},
	{
		title: "How full are the requests?", kind: graph, w: 8, h: 8, unit: "none",
		help: "Rows per request on average, and the most that an account takes. Full requests use a budget best; if they are not full while the budget is used up, raise batcher.linger.",
		see:  "metrics.md#batcher",
		queries: []query{
			{`sum(rate(contactsync_batcher_batch_rows_sum{@}[$__rate_interval])) / sum(rate(contactsync_batcher_batch_rows_count{@}[$__rate_interval])) >= 0`, "rows per request"},
			{`min by (account) (contactsync_batcher_request_max_rows{@a})`, "most for {{account}}"},
		},
	},
	{
		title: "What makes a request ready?", kind: graph, w: 8, h: 8, unit: "reqps", stack: true,
		help:    "Requests formed per second, by what made them ready. Mostly rows or bytes: they are full. Mostly linger: traffic is light. Much retry: see what the API answers.",
		see:     "metrics.md#batcher",
		queries: []query{{`sum by (reason) (rate(contactsync_batcher_batches_total{@}[$__rate_interval]))`, "{{reason}}"}},
	},
	{
		title: "What is read?", kind: graph, w: 8, h: 8, unit: "cps",
		help:    "Records per second, by what they turned out to be. Undecodable, invalid and unmapped ones become dead letters; if there are many, a producer or a setting has changed.",
		see:     "runbook.md#contactsyncfeedunreadable",
		queries: []query{{`sum by (result) (rate(contactsync_consumer_records_total{@}[$__rate_interval])) > 0`, "{{result}}"}},
		none:    "Nothing is read",
	},
	{
		title: "How many streams are busy?", kind: graph, w: 8, h: 8, unit: "short",
		help: "Streams with contacts to send, those that wait to try again after a failed request, and those on hold. If many back off, see what the API answers.",
		see:  "metrics.md#batcher",
		queries: []query{
			{`sum(contactsync_batcher_active_streams{@})`, "with contacts to send"},
			{`sum(contactsync_batcher_streams_backing_off{@})`, "backing off"},
			{`sum(contactsync_batcher_streams_on_hold{@})`, "on hold"},
		},
	},
	{
		title: "What is skipped, or has no order?", kind: graph, w: 8, h: 8, unit: "cps",
		help: "Events per second with nothing to send, by reason, and hints of order that were not used. Many stale ones mean that a producer writes out of order.",
		see:  "metrics.md#batcher",
		queries: []query{
			{`sum by (reason) (rate(contactsync_batcher_events_skipped_total{@}[$__rate_interval]))`, "skipped: {{reason}}"},
			{`sum(rate(contactsync_batcher_order_hints_ignored_total{@}[$__rate_interval]))`, "hints not used"},
		},
	},
}

var calls = []panel{
	{
		title: "What does the API answer?", kind: graph, w: 8, h: 8, unit: "reqps", stack: true,
		help:    "Requests per second, by the kind of the answer. Anything but answered costs calls and time; the kinds are explained where the link leads.",
		see:     "answers.md#what-each-answer-means-and-what-it-leads-to",
		queries: []query{{`sum by (kind) (rate(contactsync_upstream_requests_total{@a}[$__rate_interval])) > 0`, "{{kind}}"}},
		none:    "No calls",
	},
	{
		title: "What are the calls for?", kind: graph, w: 8, h: 8, unit: "reqps", stack: true,
		help:    "Requests per second, by purpose. If most are not for delivery, retries, the search for bad rows or probes of holds use the budget: end their cause.",
		see:     "runbook.md#contactsyncbudgetexhausted",
		queries: []query{{`sum by (purpose) (rate(contactsync_upstream_requests_total{@a}[$__rate_interval])) > 0`, "{{purpose}}"}},
		none:    "No calls",
	},
	{
		title: "Where do the calls wait?", kind: graph, w: 8, h: 8, unit: "percentunit",
		help: "Share of time in which contacts were ready and no request could start, by account and cause, on the replica where it was longest; slots: as many were in flight as allowed. " +
			"The highest is what limits the account. The line is where the alert about the budget begins, if it lasts.",
		see: "runbook.md#contactsyncbudgetexhausted",
		queries: []query{
			{`max by (account, cause) (rate(contactsync_upstream_blocked_seconds_total{@a}[$__rate_interval])) > 0`, "{{account}}: {{cause}}"},
			{`max by (account) (rate(contactsync_batcher_slots_busy_seconds_total{@a}[$__rate_interval])) > 0`, "{{account}}: slots"},
		},
		steps: []step{{threshold: "budgetBlockedRatio", color: red}}, none: "They do not wait",
	},
	{
		title: "How much of the budget is used?", kind: graph, w: 8, h: 8, unit: "percentunit",
		help: "Calls of all replicas as a share of those that they may go on making: the budget less what is for a burst after a pause, and less what throttling took. At 1 while work is left, the budget is the limit: raise it if the API allows more. " +
			"Above 1 it is a burst. More replicas share the same calls.",
		see: "runbook.md#contactsyncbudgetexhausted",
		queries: []query{{
			`sum by (account) (rate(contactsync_upstream_budget_used_requests_total{@a}[$__rate_interval])) * max by (account) (contactsync_upstream_budget_window_seconds{@a})
  / (sum by (account) (contactsync_upstream_budget_refill_requests{@a}) > 0)`, "{{account}}",
		}},
		steps: []step{{at: 1, color: red}}, none: "No account has a budget",
	},
	{
		title: "Does the API take less than the budget?", kind: graph, w: 8, h: 8, unit: "percentunit",
		help: "What throttling has left of each account's budget. Below 1 for long, the API's limit is lower than the budget, or somebody else uses it, too: find out who, or lower the budget.",
		see:  "runbook.md#contactsyncthrottled",
		queries: []query{
			{`min by (account) (contactsync_upstream_budget_learned_ratio{@a})`, "left of {{account}}"},
			{`max by (account) (rate(contactsync_upstream_blocked_seconds_total{@a, cause="throttled"}[$__rate_interval]))`, "time throttled, {{account}}"},
		},
		none: "No account has a budget",
	},
	{
		title: "How long do answers take?", kind: graph, w: 8, h: 8, unit: "s",
		help: "Half, 90 % and 99 % of the requests were answered within this time. If it grows while slots are busy, the API is the limit: its operators have to look.",
		see:  "runbook.md#contactsyncslowapi",
		queries: []query{
			{`histogram_quantile(0.5, sum by (le) (rate(contactsync_upstream_request_duration_seconds_bucket{@a}[$__rate_interval]))) >= 0`, "50 %"},
			{`histogram_quantile(0.9, sum by (le) (rate(contactsync_upstream_request_duration_seconds_bucket{@a}[$__rate_interval]))) >= 0`, "90 %"},
			{`histogram_quantile(0.99, sum by (le) (rate(contactsync_upstream_request_duration_seconds_bucket{@a}[$__rate_interval]))) >= 0`, "99 %"},
		},
		none: "No calls",
	},
	{
		title: "How many requests are in flight?", kind: graph, w: 8, h: 8, unit: "none",
		help: "Requests in flight on all replicas, and how many each account may have. If they are as many while the budget has calls left, raise batcher.max_in_flight.",
		see:  "runbook.md#contactsyncslowapi",
		queries: []query{
			{`sum(contactsync_batcher_in_flight_requests{@})`, "in flight"},
			{`sum by (account) (contactsync_batcher_in_flight_limit_requests{@a})`, "most for {{account}}"},
		},
	},
	{
		title: "Which hosts does the circuit breaker stop?", kind: states, w: 8, h: 8, unit: "none",
		help:    "State of the circuit breaker of each host, on the replica where it is worst. Open: the host fails, and no request is sent but one that tries it now and then. Deliveries go on by themselves once it answers.",
		see:     "runbook.md#contactsyncbreakeropen",
		queries: []query{{`max by (host) (contactsync_upstream_circuit_breaker_state{@})`, "{{host}}"}},
		texts:   []text{{0, "closed", green}, {1, "half-open", yellow}, {2, "open", red}},
	},
	{
		title: "Do the answers fit the requests?", kind: graph, w: 8, h: 8, unit: "cps",
		help: "Rows per second that failed or that an answer does not account for, and contacts that were missing in answers, repeated, or not asked for. If it is not zero for long, the API breaks its contract, or upstream.answer has the wrong paths.",
		see:  "runbook.md#contactsyncanswersdonotfit",
		queries: []query{
			{`sum by (result) (rate(contactsync_upstream_rows_total{@a, result=~"failed|unresolved"}[$__rate_interval]))`, "rows {{result}}"},
			{`sum by (ids) (rate(contactsync_upstream_answer_ids_total{@a, ids=~"missing|repeated|unknown"}[$__rate_interval]))`, "contacts {{ids}}"},
		},
	},
}

var freshness = []panel{
	{
		title: "How old are events when they are delivered?", kind: graph, w: 12, h: 8, unit: "s",
		help: "Half, 90 % and 99 % of the events delivered were younger than this. The lines are the bound of the objective and the age of the alert about the oldest event. What is never delivered is not in it.",
		see:  "operations.md#freshness-as-an-objective",
		queries: []query{
			{`histogram_quantile(0.5, sum by (le) (` + deliveredAges + `)) >= 0`, "50 %"},
			{`histogram_quantile(0.9, sum by (le) (` + deliveredAges + `)) >= 0`, "90 %"},
			{`histogram_quantile(0.99, sum by (le) (` + deliveredAges + `)) >= 0`, "99 %"},
		},
		steps: late, none: "Nothing was delivered",
	},
	{
		title: "How old is what waits?", kind: graph, w: 12, h: 8, unit: "s",
		help:    "Age of the oldest event, by what it waits for: to be sent (active), in a stream on hold, or as a dead letter that Kafka does not have. Keep all of it well below the retention of the topic, or Kafka deletes what was not delivered.",
		see:     "runbook.md#contactsyncoldesttooold",
		queries: []query{{`max by (state) (contactsync_batcher_oldest_pending_age_seconds{@})`, "{{state}}"}},
		steps:   late,
	},
	{
		title: "How fast does the error budget burn?", kind: graph, w: 12, h: 8, unit: "percentunit",
		help: "Share of deliveries that were late, over each window of the alerts. The lower line is six times what the objective allows (30 min and 6 h), the upper one 14.4 times (5 min and 1 h): an alert fires if both of its windows are above.",
		see:  "runbook.md#contactsynctoooldfast",
		queries: []query{
			{`max(contactsync:event_age_late:ratio_rate5m{@})`, "5 min"},
			{`max(contactsync:event_age_late:ratio_rate30m{@})`, "30 min"},
			{`max(contactsync:event_age_late:ratio_rate1h{@})`, "1 h"},
			{`max(contactsync:event_age_late:ratio_rate6h{@})`, "6 h"},
		},
		steps: []step{{threshold: "lateBudgetRatio", times: 6, color: orange}, {threshold: "lateBudgetRatio", times: 14.4, color: red}},
		none:  "Nothing was delivered, or files/rules.yaml is not loaded",
	},
	{
		title: "How long ago was each account delivered to?", kind: graph, w: 12, h: 8, unit: "s",
		help:    "Time since a contact of the account was last delivered, on any replica. It grows where there is nothing to send, too; if events of the account wait, see where its calls wait.",
		see:     "runbook.md#contactsyncnotmoving",
		queries: []query{{`time() - max by (account) (contactsync_batcher_last_delivery_timestamp_seconds{@a})`, "{{account}}"}},
		none:    "Nothing was delivered",
	},
}
