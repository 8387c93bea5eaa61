package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEnvironment_LiesOverTheFile(t *testing.T) {
	t.Parallel()
	c, err := Load("testdata/forms.good.yaml", []string{
		"HOME=/root",
		"CONTACTSYNC_KAFKA_BROKERS=a.example.com:1, b.example.com:2",
		"CONTACTSYNC_KAFKA_TLS_SERVER_NAME=kafka",
		"CONTACTSYNC_CONSUMER_GROUP=other",
		"CONTACTSYNC_CONSUMER_COMMIT_EVENTS=7",
		"CONTACTSYNC_BATCHER_LINGER=20ms",
		"CONTACTSYNC_BATCHER_MAX_BYTES=1MiB",
		"CONTACTSYNC_UPSTREAM_BREAKER_FAILURE_RATIO=0.5",
		"CONTACTSYNC_EVENT_VALIDATION=lenient",
		"CONTACTSYNC_LOG_LEVEL=", // counts as not set
		"CONTACTSYNC_SERVICE_HOST=10.0.0.1",
		"CONTACTSYNC_SERVICE_PORT_HTTP=8080",
		"CONTACTSYNC_PORT=tcp://10.0.0.1:8080",
		"CONTACTSYNC_PORT_8080_TCP_ADDR=10.0.0.1",
		"CONTACTSYNC_METRICS_SERVICE_PORT=8080",
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.example.com:1", "b.example.com:2"}; !slices.Equal(c.Kafka.Brokers, want) {
		t.Errorf("brokers %q, want %q", c.Kafka.Brokers, want)
	}
	if c.Kafka.TLS.ServerName != "kafka" || !c.Kafka.TLS.Enabled {
		t.Errorf("tls %+v, want the file's under the variable", c.Kafka.TLS)
	}
	if c.Consumer.Group != "other" || c.Consumer.CommitEvents != 7 || c.Batcher.Linger != 20*time.Millisecond ||
		c.Batcher.MaxBytes != 1<<20 || c.Upstream.Breaker.FailureRatio != 0.5 || c.Event.Validation != "lenient" {
		t.Errorf("a variable was not taken: %+v", c)
	}
	if c.Log.Level != "debug" || len(c.Upstream.Accounts) != 2 || c.Upstream.Accounts[0].ID != "007" {
		t.Errorf("the file was not kept: %+v", c)
	}
}

func TestEnvironment_SetsEverySettingButThoseOfLists(t *testing.T) {
	t.Parallel()
	for _, k := range Keys() {
		if k.Env == "" || k.Default == "" {
			continue
		}
		var c Config
		r := newReport("")
		r.overlay([]string{k.Env + "=" + k.Default}, &c)
		if got := format(settingAt(&c, k.Path)); got != k.Default || r.err() != nil {
			t.Errorf("%s=%s: got %q, %v", k.Env, k.Default, got, r.err())
		}
	}
}

func TestEnvironment_Errors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, file string
		environ    []string
		want       []string
	}{
		{
			name:    "nothing but the environment",
			environ: []string{"CONTACTSYNC_LOG_LEVEL=loud"},
			want: []string{
				"kafka.brokers (CONTACTSYNC_KAFKA_BROKERS): name at least one broker as host:port",
				"consumer.topics (CONTACTSYNC_CONSUMER_TOPICS): name at least one topic to read",
				"consumer.group (CONTACTSYNC_CONSUMER_GROUP): name the consumer group",
				"upstream.accounts: name at least one account",
				`deadletter.topic (CONTACTSYNC_DEADLETTER_TOPIC): "" is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`,
				`environment CONTACTSYNC_LOG_LEVEL: log.level: "loud" is unknown: debug, info, warn or error`,
			},
		},
		{
			name: "unknown variables", file: minimal,
			environ: []string{"CONTACTSYNC_CONSUMER_GRUOP=x", "CONTACTSYNC_X=y", "CONTACTSYNC_LOG=info"},
			want: []string{
				"environment CONTACTSYNC_CONSUMER_GRUOP: unknown variable: did you mean CONTACTSYNC_CONSUMER_GROUP?",
				"environment CONTACTSYNC_LOG: unknown variable: did you mean CONTACTSYNC_LOG_FORMAT?",
				"environment CONTACTSYNC_X: unknown variable: names that begin with CONTACTSYNC_ are reserved for the service",
			},
		},
		{
			name: "accounts", file: minimal,
			environ: []string{"CONTACTSYNC_UPSTREAM_ACCOUNTS=a", "CONTACTSYNC_UPSTREAM_ACCOUNTS_0_ID=a"},
			want: []string{
				"environment CONTACTSYNC_UPSTREAM_ACCOUNTS: upstream.accounts can only be set in the file",
				"environment CONTACTSYNC_UPSTREAM_ACCOUNTS_0_ID: upstream.accounts can only be set in the file",
			},
		},
		{
			name: "blanks are no value", file: minimal,
			environ: []string{"CONTACTSYNC_CONSUMER_GROUP= ", "CONTACTSYNC_LOG_LEVEL=loud"},
			want:    []string{`environment CONTACTSYNC_LOG_LEVEL: log.level: "loud" is unknown: debug, info, warn or error`},
		},
		{
			name: "types", file: minimal,
			environ: []string{
				"CONTACTSYNC_BATCHER_LINGER=5", "CONTACTSYNC_BATCHER_MAX_BYTES=1MB", "CONTACTSYNC_BATCHER_MAX_ROWS=many",
				"CONTACTSYNC_KAFKA_TLS_ENABLED=yes", "CONTACTSYNC_UPSTREAM_BREAKER_FAILURE_RATIO=inf",
			},
			want: []string{
				`environment CONTACTSYNC_BATCHER_LINGER: batcher.linger: "5" is not a duration: write a number with a unit, like 500ms, 10s or 2m`,
				`environment CONTACTSYNC_BATCHER_MAX_BYTES: batcher.max_bytes: "1MB" is not a size: write a whole number, alone or with B, KiB, MiB or GiB`,
				`environment CONTACTSYNC_BATCHER_MAX_ROWS: batcher.max_rows: "many" is not a whole number`,
				`environment CONTACTSYNC_KAFKA_TLS_ENABLED: kafka.tls.enabled: "yes" is neither true nor false`,
				`environment CONTACTSYNC_UPSTREAM_BREAKER_FAILURE_RATIO: upstream.breaker.failure_ratio: "inf" is not a number`,
			},
		},
		{
			name: "not text", file: minimal,
			environ: []string{"CONTACTSYNC_CONSUMER_GROUP=a\xff", "CONTACTSYNC_CONSUMER_TOPICS=a,b\tc"},
			want: []string{
				"environment CONTACTSYNC_CONSUMER_GROUP: consumer.group: " + errUnprintable.Error(),
				"environment CONTACTSYNC_CONSUMER_TOPICS: consumer.topics: " + errUnprintable.Error(),
			},
		},
		{
			name: "an item of a list", file: minimal,
			environ: []string{"CONTACTSYNC_CONSUMER_TOPICS=a,,b"},
			want:    []string{`environment CONTACTSYNC_CONSUMER_TOPICS: consumer.topics[1]: "" is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores`},
		},
		{
			name: "beside a file that is not YAML", file: "testdata/broken_quote.bad.yaml",
			environ: []string{"CONTACTSYNC_BATCHER_LINGER=5", "CONTACTSYNC_LOGLEVEL=info"},
			want: []string{
				"testdata/broken_quote.bad.yaml:16: not valid YAML: could not find end character of double-quoted text",
				`environment CONTACTSYNC_BATCHER_LINGER: batcher.linger: "5" is not a duration: write a number with a unit, like 500ms, 10s or 2m`,
				"environment CONTACTSYNC_LOGLEVEL: unknown variable: did you mean CONTACTSYNC_LOG_LEVEL?",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(test.file, test.environ)
			if err == nil || err.Error() != strings.Join(test.want, "\n") {
				t.Errorf("got\n%v\nwant\n%s", err, strings.Join(test.want, "\n"))
			}
		})
	}
}

// A variable holds what a person may have put there by mistake, a secret too.
func TestEnvironment_UnknownVariablesAreNotQuoted(t *testing.T) {
	t.Parallel()
	_, err := Load(minimal, []string{"CONTACTSYNC_UPSTREAM_CLIENT_SECRET=hunter2"})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error without the value", err)
	}
}
