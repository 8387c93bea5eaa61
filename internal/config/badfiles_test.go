package config

// badFiles names every testdata/*.bad.yaml with the errors that it leads to,
// without the file's name.
var badFiles = map[string][]string{
	"account_incomplete": {
		`:15: upstream.accounts[1].id: "" is not an account id: 1 to 64 letters, digits, - or _`,
		`:15: upstream.accounts[1].host: "http://plain.example.com" is not encrypted: write https://plain.example.com, or set allow_plaintext`,
		`:15: upstream.accounts[1].streams[0]: "*" is a pattern of accounts[0] already: one stream belongs to one account`,
		":15: upstream.accounts[1].credentials.client_id: give either client_id or client_id_file",
		":15: upstream.accounts[1].credentials.client_secret_file: HS256 signs with client_secret_file, and with it alone",
		":18: upstream.accounts[1].budget.burst: 9 must be between 0 and half of requests (10)",
	},
	"account_is_a_word": {
		":9: upstream.timeout: 1ms must be between 100ms and 10m",
		":11: upstream.accounts[0]: is a single value, but settings are expected here: write key: value, one per line",
	},
	"accounts_are_a_mapping": {
		":2: upstream.accounts: is a mapping, but a list is expected: write [a, b], or - a, one per line",
	},
	"anchors": {
		":1: anchors (&) are not supported: write the value where it is used",
		":2: anchors (&) are not supported: write the value where it is used",
		":2: aliases (*) are not supported: write the value where it is used",
		":3: anchors (&) are not supported: write the value where it is used",
		":3: aliases (*) are not supported: write the value where it is used",
		":5: aliases (*) are not supported: write the value where it is used",
	},
	"begins_like_a_block": {
		":14: not valid YAML: a value that begins with | or > has to stand in quotes",
	},
	"binary": {
		":1: not a text file: a byte here is not UTF-8 or is a control character",
	},
	"broken_bracket": {
		":15: not valid YAML: could not find flow mapping end token '}'",
	},
	"broken_indent": {
		":16: not valid YAML: mapping value is not allowed in this context",
	},
	"broken_quote": {
		":16: not valid YAML: could not find end character of double-quoted text",
	},
	"claims_are_a_list": {
		":15: upstream.accounts[0].credentials.claims: is a list, but a mapping is expected: write name: value, one per line",
	},
	"claims_not_json": {
		":15: upstream.accounts[0].credentials.claims: +Inf is not a number in JSON",
	},
	"colon_in_value": {
		":16: not valid YAML: mapping value is not allowed in this context",
	},
	"comments_only": {
		": kafka.brokers: name at least one broker as host:port",
		": consumer.topics: name at least one topic to read",
		": consumer.group: name the consumer group",
		": upstream.accounts: name at least one account",
		`: deadletter.topic: "" is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`,
	},
	"complex_key": {
		":15: complex keys (?) are not supported: write key: value",
	},
	"control_character": {
		":16: not a text file: a byte here is not UTF-8 or is a control character",
	},
	"deep": {
		":2: lists and mappings are nested deeper than 32",
	},
	"deep_dashes": {
		":3: lists and mappings are nested deeper than 32",
	},
	"directive": {
		":1: directives (%) are not supported: remove the line",
	},
	"duplicate_key": {
		":18: log.level: duplicate key: first on line 16",
	},
	"duplicate_section": {
		":15: consumer: duplicate key: first on line 3",
	},
	"durations": {
		`:16: batcher.linger: "5" is not a duration: write a number with a unit, like 500ms, 10s or 2m`,
		`:17: batcher.backoff_min: "1 s" is not a duration: write a number with a unit, like 500ms, 10s or 2m`,
		`:18: batcher.backoff_max: "1d" is not a duration: write a number with a unit, like 500ms, 10s or 2m`,
		":19: consumer_: unknown key: did you mean consumer?",
	},
	"empty": {
		": kafka.brokers: name at least one broker as host:port",
		": consumer.topics: name at least one topic to read",
		": consumer.group: name the consumer group",
		": upstream.accounts: name at least one account",
		`: deadletter.topic: "" is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`,
	},
	"extremes": {
		`:4: consumer.topics[1]: "con tacts" is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`,
		`:4: consumer.topics[2]: ".." is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`,
		`:4: consumer.topics[3]: "contacts*" is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`,
		`:6: consumer.progress_topic: "pro/gress" is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`,
		":7: consumer.fetch_max_wait: 1h0m0s must be between 1ms and 5m0s",
		":8: consumer.rebalance_timeout: 8000h0m0s must be between 1s and 24h0m0s",
		":9: consumer.commit_interval: 1ns must be between 10ms and 24h0m0s",
		`:10: consumer.max_batch_bytes: "4294967295GiB" is more than 1024GiB`,
		`:12: deadletter.topic: "*" is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`,
		":16: upstream.accounts[0].host: holds more than scheme, host and base path: write https://api.example.com",
		":21: batcher.linger: 2562047h is longer than a year (8760h0m0s)",
		`:22: batcher.max_bytes: "1025GiB" is more than 1024GiB`,
		":23: batcher.hold_max: -9000h is longer than a year (8760h0m0s)",
	},
	"item_is_a_mapping": {
		":6: consumer.topics[1]: is a mapping, but a single value is expected",
		`:7: consumer.topics[2]: "contacts" is named twice`,
	},
	"key_of_another_section": {
		":15: consumer_extra: unknown key",
		":17: log.max_in_flight: unknown key: did you mean batcher.max_in_flight?",
	},
	"latin1": {
		":15: not a text file: a byte here is not UTF-8 or is a control character",
	},
	"line_breaks": {
		":5: consumer.group: contains a line break, a tab or another unprintable character: write it on one line",
		":16: upstream.accounts[0].credentials.claims: contains a line break, a tab or another unprintable character: write it on one line",
	},
	"list_is_a_value": {
		":4: consumer.topics: is a single value, but a list is expected: write [a, b], or - a, one per line",
	},
	"listen": {
		`:16: admin.listen: "8080" is not an address: write host:port, like 127.0.0.1:8080 or :8080`,
		`:17: admin.probe_listen: "localhost" is not an address: write host:port, like 127.0.0.1:8081 or :8081`,
		`:19: log.format: "xml" is unknown: json or text`,
		":21: shutdown.timeout: 100ms must be between 1s and 1h",
		":21: shutdown.timeout: 100ms leaves no time to drain and commit: must be at least 15s, consumer.drain_timeout and 5s",
	},
	"long_value": {
		":16: batcher.linger: is 5000 bytes long: not a duration: write a number with a unit, like 500ms, 10s or 2m",
	},
	"merge_key": {
		":15: merge keys (<<) are not supported: write the values where they are used",
	},
	"not_a_mapping": {
		":1: the file is a list, but settings are expected here: write key: value, one per line",
	},
	"nothing_required_given": {
		": kafka.brokers: name at least one broker as host:port",
		": consumer.topics: name at least one topic to read",
		": consumer.group: name the consumer group",
		": upstream.accounts: name at least one account",
		`: deadletter.topic: "" is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`,
	},
	"null_item": {
		`:15: upstream.accounts[1].id: "" is not an account id: 1 to 64 letters, digits, - or _`,
		":15: upstream.accounts[1].host: is not a base URL: write https://host",
		`:15: upstream.accounts[1].streams[0]: "*" is a pattern of accounts[0] already: one stream belongs to one account`,
		":15: upstream.accounts[1].credentials.client_id: give either client_id or client_id_file",
		":15: upstream.accounts[1].credentials.client_secret_file: HS256 signs with client_secret_file, and with it alone",
	},
	"numbers": {
		`:16: batcher.max_rows: "ten" is not a whole number`,
		`:17: batcher.max_in_flight: "1.5" is not a whole number`,
		":18: batcher.row_attempts: 99999999999999999999 is too large or too small a number",
		`:20: event.max_depth: "0x10" is not a whole number`,
		":21: upstream2: unknown key: did you mean upstream?",
	},
	"one_word": {
		":1: the file is a single value, but settings are expected here: write key: value, one per line",
	},
	"overlapping_streams": {
		`:14: upstream.accounts[0].streams[1]: "st-*" and "*-eu" of accounts[1].streams[1] both take stream "st-eu", and neither is more specific: say whose it is with a pattern for what both take`,
		`:22: upstream.accounts[1].streams[1]: "*-eu" and "st-*" of accounts[0].streams[1] both take stream "st-eu", and neither is more specific: say whose it is with a pattern for what both take`,
	},
	"policies": {
		`:6: consumer.on_offset_loss: "set_aside" is unknown: halt or skip`,
		`:7: consumer.on_unreadable_batch: "skip" is unknown: halt or set_aside`,
		`:8: consumer.on_unreadable_feed: "set_aside" is unknown: halt, skip or off`,
	},
	"prefix_of_a_section": {
		":15: shut: unknown key: did you mean shutdown?",
	},
	"ratios": {
		`:10: upstream.breaker.failure_ratio: ".nan" is not a number`,
		":11: upstream.breaker.consecutive: 0 must be between 1 and 1000000",
	},
	"relations": {
		":7: consumer.stall_after: 20s would report the service as stuck during one slow request: must be more than 30.5s, batcher.linger and upstream.timeout together",
		`:11: deadletter.topic: "contacts" is one of consumer.topics: dead letters would be read as events again`,
		":12: upstream.timeout: 30s is too long for consumer.session_timeout (45s): a request must end before another replica can own its partitions, so at most 28.5s, or a longer session",
		":20: event.max_event_bytes: 8MiB is more than consumer.max_batch_bytes (1MiB): such an event would halt its partition before it is decoded",
		":20: event.max_event_bytes: 8MiB is more than a quarter of batcher.window_bytes (16MiB): a few events would fill the window",
		":24: shutdown.timeout: 20s leaves no time to drain and commit: must be at least 25s, consumer.drain_timeout and 5s",
	},
	"section_is_a_list": {
		":15: batcher: is a list, but settings are expected here: write key: value, one per line",
	},
	"section_is_a_value": {
		":6: deadletter: is a single value, but settings are expected here: write key: value, one per line",
	},
	"sizes": {
		`:16: batcher.max_bytes: "1.5MiB" is not a size: write a whole number, alone or with B, KiB, MiB or GiB`,
		`:17: batcher.window_bytes: "256MB" is not a size: write a whole number, alone or with B, KiB, MiB or GiB`,
		`:19: event.max_event_bytes: "-1" is not a size: write a whole number, alone or with B, KiB, MiB or GiB`,
	},
	"switches": {
		`:3: kafka.tls.enabled: "yes" is neither true nor false`,
		`:5: kafka.sasl.allow_plaintext: "1" is neither true nor false`,
	},
	"tab_after_spaces": {
		":17: not valid YAML: a tab: indent with spaces",
	},
	"tabs": {
		":16: not valid YAML: a tab: indent with spaces",
	},
	"tags": {
		":16: tags (!) are not supported: write the plain value",
	},
	"two_documents": {
		":16: a second document: a settings file holds one, without --- in it",
	},
	"unknown_hides_nothing": {
		":16: batcher.lingr: unknown key: did you mean batcher.linger?",
		":17: batcher.max_rows: 0 must be between 1 and 100000",
		`:18: batcher.backoff_max: "1" is not a duration: write a number with a unit, like 500ms, 10s or 2m`,
		`:19: batcher.max_in_flight: "many" is not a whole number`,
		`:21: log.level: "loud" is unknown: debug, info, warn or error`,
	},
	"unknown_in_account": {
		":15: upstream.accounts[0].bugdet: unknown key: did you mean upstream.accounts[0].budget?",
		":17: upstream.accounts[0].client_secret: unknown key: did you mean upstream.accounts[].credentials.client_secret_file?",
	},
	"unknown_key": {
		":3: consumer.group: name the consumer group",
		":5: consumer.grop: unknown key: did you mean consumer.group?",
	},
	"unknown_section": {
		":15: batch: unknown key: did you mean batcher?",
	},
	"unknown_without_hint": {
		":16: log.zebra: unknown key",
	},
	"value_is_a_list": {
		":5: consumer.group: is a list, but a single value is expected",
	},
	"value_is_a_mapping": {
		":16: batcher.linger: is a mapping, but a single value is expected",
	},
	"value_missing": {
		":16: batcher.linger: has no value: set one or remove the key",
		":17: batcher.max_rows: has no value: set one or remove the key",
	},
}
