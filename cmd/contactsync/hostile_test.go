package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/terminal"
)

// hostile has every kind of text that a terminal would obey or a reader would be misled
// by: C0 and C1 controls, DEL, a line that looks like one of the program's, the direction of
// writing turned, separators, tags, and bytes that are not UTF-8.
const hostile = "x\x1b]0;t\x07\x1b[2J\r\b\x00\x7f\u0085\u009b31m\u202e\u2066\u200f\u200b\ufeff\u00ad\u2028\u2029\U000e0041\ncontactsync: ok\n\xff\x9b\xc3("

// harmless fails where text has a rune that shows nothing, or a line that hostile forged.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s is not UTF-8: %q", what, text)
	}
	for _, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
			t.Errorf("%s has a raw %U:\n%q", what, r, text)
			return
		}
	}
	if strings.HasPrefix(text, "contactsync: ok") || strings.Contains(text, "\ncontactsync: ok") {
		t.Errorf("%s has a forged line:\n%s", what, text)
	}
}

// harmlessJSON also fails where a line is not JSON.
func harmlessJSON(t *testing.T, what, text string) {
	t.Helper()
	harmless(t, what, text)
	for line := range strings.Lines(text) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%s is not JSON: %q", what, line)
		}
	}
}

// hostileTopic has dead letters of which everything is hostile that can be.
func hostileTopic(t *testing.T) *deadLetterTopic {
	t.Helper()
	topic := newDeadLetterTopic(t)
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	add := func(value []byte, set map[string]string) {
		rec := topic.produce(&kgo.Record{Topic: "contacts", Key: []byte(hostile), Value: value, Headers: []kgo.RecordHeader{{Key: hostile, Value: []byte(hostile)}}})
		headers := map[string]string{
			"form": "1", "reason": "rejected", "topic": rec.Topic, "partition": fmt.Sprint(rec.Partition), "offset": fmt.Sprint(rec.Offset),
			"stream": hostile, "contact": hostile, "status": "200", "detail": hostile, "last-failure": "2026-03-01T12:00:00Z",
			"positions": fmt.Sprintf("%s/%d@%d", rec.Topic, rec.Partition, rec.Offset),
		}
		maps.Copy(headers, set)
		letter := &kgo.Record{Topic: "dead", Key: rec.Key, Value: rec.Value, Headers: rec.Headers}
		for name, value := range headers {
			letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: "contactsync-" + name, Value: []byte(value)})
		}
		topic.produce(letter)
	}
	add([]byte(hostile), nil)
	add(fmt.Appendf(nil, `{"streamId":"st-1","contact":{"id":"c1","lastName":%s,"\u202e":"`+"\u202e\u009b"+`"}}`, quoted), nil) // JSON, which is printed as it is
	for _, name := range []string{"form", "reason", "topic", "partition", "offset", "positions", "status", "last-failure"} {
		add([]byte("x"), map[string]string{name: hostile})
	}
	return topic
}

func TestOutput_OfHostileRecordsIsHarmless(t *testing.T) {
	t.Parallel()
	topic := hostileTopic(t)
	for _, args := range [][]string{
		{"list"},
		{"list", "--limit", "1"},
		{"list", "--stream", hostile},
		{"show", "contacts/0@0"},
		{"show", "contacts/0@0", "--value"},
		{"show", "contacts/0@1", "--value"},
		{"show", "contacts/0@77" + hostile},
		{"show", hostile + "/0@77"},
		{"stats"},
		{"replay", "--dry-run"},
		{"replay"},
		{"list", "--since", hostile},
		{"list", "--reason", hostile},
		{hostile},
	} {
		for _, output := range []string{"table", "json", hostile} {
			what := fmt.Sprintf("%.40q as %.5q", args, output)
			_, stdout, stderr := topic.run(append(args, "--output", output)...)
			if output == "json" {
				harmlessJSON(t, what, stdout)
			} else {
				harmless(t, what, stdout)
			}
			harmless(t, what, stderr)
		}
	}
	// What is not shown cannot do harm either: the text must be there.
	if _, stdout, _ := topic.run("show", "contacts/0@0", "--value", "-o", "json"); !strings.Contains(stdout, `\u202e`) || !strings.Contains(stdout, `\u009b`) || !strings.Contains(stdout, `\udb40\udc41`) {
		t.Errorf("the record is not shown:\n%s", stdout)
	}
	if _, stdout, _ := topic.run("list"); !strings.Contains(stdout, `\u202e`) {
		t.Errorf("the records are not listed:\n%s", stdout)
	}
}

func TestOutput_OfAHostileReplicaIsHarmless(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(strings.ToValidUTF8(hostile, "?"))
	if err != nil {
		t.Fatal(err)
	}
	held := fmt.Sprintf(`{"window": {"holds": [{"kind": %[1]s, "account": %[1]s, "stream": %[1]s, "detail": %[1]s}], "holds_left": 7}}`, text)
	for _, answer := range []string{hostile, held, fmt.Sprintf(`[{"hash": %[1]s, "account": %[1]s, "stream": %[1]s, "kind": %[1]s}]`, text), fmt.Sprintf(`{"hash": %[1]s, "text": %[1]s}`, text), `{"window": ` + hostile, "{" + string(text) + ": 1}"} {
		for _, status := range []int{http.StatusOK, http.StatusAccepted, http.StatusConflict} {
			for _, command := range [][]string{
				{"hold", "list"},
				{"hold", "list", "-o", "json"},
				{"hold", "release", hostile},
				{"hold", "set-aside", "st-1", "--reason", hostile},
				{"answers"},
				{"answers", "a3f91c02"},
				{"answers", hostile},
				{"set-aside", "contacts/3@5", "--last", "9"},
				{"set-aside", hostile + "/3@5", "--last", "9"},
				{"feed", "resume", "contacts/3"},
				{"feed", "resume", hostile + "/3"},
			} {
				what := fmt.Sprintf("%.40q to %d %.20q", command, status, answer)
				_, output, _ := asked(t, status, answer, command, nil)
				harmless(t, what, output)
			}
		}
	}
	if _, output, _ := asked(t, http.StatusOK, held, []string{"hold", "list"}, nil); !strings.Contains(output, `\u202e`) {
		t.Errorf("the hold is not listed:\n%s", output)
	}
}

func TestOutput_OfHostileSettingsIsHarmless(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(settings(t, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(strings.ToValidUTF8(hostile, "?"))
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range [][]byte{
		[]byte(hostile),
		fmt.Appendf(nil, "%s: 1\n", quoted),
		fmt.Appendf(nil, "kafka: {brokers: [%s]}\nlog: {level: %s}\n", quoted, quoted),
		bytes.Replace(good, []byte("group: g"), append([]byte("group: "), quoted...), 1),
	} {
		file := filepath.Join(t.TempDir(), "hostile.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"check"}, {"check", "--print"}, {"check", "--stream", hostile}} {
			_, stdout, stderr := program(t, append(args, "--config", file)...)
			harmless(t, fmt.Sprintf("file %d, %.20q, output", i, args), stdout)
			harmless(t, fmt.Sprintf("file %d, %.20q, errors", i, args), stderr)
		}
	}
	_, stdout, stderr := program(t, hostile, "--"+hostile)
	harmless(t, "an unknown command", stdout+stderr)
}

// The log goes where the other output of the program goes.
func TestOutput_OfAHostileLogIsHarmless(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		var out strings.Builder
		log := app.NewLogger(config.Log{Level: "debug", Format: format}, terminal.NewWriter(&out))
		log.With(hostile, hostile).WithGroup(hostile).Error(hostile, hostile, hostile, "err", fmt.Errorf("read: %s", hostile),
			"bytes", []byte(hostile), "raw", json.RawMessage(hostile), slog.Group("g", hostile, []string{hostile}))
		if format == "json" {
			harmlessJSON(t, format, out.String())
		} else {
			harmless(t, format, out.String())
		}
		if strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), `202e`) {
			t.Errorf("%s: %q", format, &out)
		}
	}
}
