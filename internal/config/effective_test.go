package config

import (
	"strings"
	"testing"
)

func TestEffective_SaysWhereEachValueIsFrom(t *testing.T) {
	t.Parallel()
	text := `kafka:
  brokers: [kafka-1:9092]
consumer:
  topics: [a]
  group: g
deadletter:
  topic: dead
upstream:
  accounts:
    - id: emea
      host: https://api.example.com
      streams: ["*"]
      budget: {requests: 60}
      credentials:
        client_id: cs-1
        client_secret_file: pasted-secret-in-place-of-a-file
        claims: {role: hidden}
`
	c, places, err := load("s.yaml", text, []string{"CONTACTSYNC_CONSUMER_TOPICS=a,b", "CONTACTSYNC_LOG_LEVEL=debug"})
	if err != nil {
		t.Fatal(err)
	}
	values, err := places.Effective(c)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Value{}
	for _, v := range values {
		found[v.Key] = v
		if strings.Contains(v.Text, "hidden") || strings.Contains(v.Text, "pasted-secret") {
			t.Errorf("a value that may be secret is listed: %v", v)
		}
	}
	for key, want := range map[string][2]string{
		"kafka.brokers":                        {"[kafka-1:9092]", "s.yaml:2"},
		"consumer.topics":                      {"[a, b]", "environment CONTACTSYNC_CONSUMER_TOPICS"},
		"log.level":                            {"debug", "environment CONTACTSYNC_LOG_LEVEL"},
		"log.format":                           {"json", "default"},
		"upstream.accounts[0].id":              {"emea", "s.yaml:10"},
		"upstream.accounts[0].budget.requests": {"60", "s.yaml:13"},
		"upstream.accounts[0].budget.window":   {"1m", "default"},
	} {
		if got := found[key]; got.Source != want[1] || got.Text != want[0] {
			t.Errorf("%s is %s from %s, not %s from %s", key, got.Text, got.Source, want[0], want[1])
		}
	}
}
