package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/kafka"
)

var statusTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// twoStatuses are of one process, a second apart.
func twoStatuses() (before, now app.Status) {
	before = app.Status{Version: "1.2.3", Time: statusTime, Started: statusTime.Add(-time.Hour)}
	before.Flow = app.Flow{
		Records: map[string]int64{"update": 1000}, Events: map[string]int64{"delivered": 900, "dead_letter": 1},
		Requests: []app.Requests{{Account: "emea", Purpose: "delivery", Kind: "answered", Count: 10}, {Account: "emea", Purpose: "probe", Kind: "unauthorized", Count: 2}},
	}
	now = before
	now.Time = statusTime.Add(time.Second)
	now.Headline = app.Headline{Text: "1643 contacts wait, the oldest event for 7.7 s; 1 partition is not read", Level: "bad"}
	now.Flow.Records = map[string]int64{"update": 1150, "invalid": 50}
	now.Flow.Requests = []app.Requests{{Account: "emea", Purpose: "delivery", Kind: "answered", Count: 13}, {Account: "emea", Purpose: "probe", Kind: "unauthorized", Count: 2}}
	now.Partitions = []consumer.Partition{
		{Topic: "contacts", Partition: 0, State: consumer.Reading, Since: statusTime, Lag: 12},
		{Topic: "contacts", Partition: 2, State: consumer.Reading, Since: statusTime, Lag: 3, Oldest: statusTime.Add(-5 * time.Minute)},
		{Topic: "contacts", Partition: 1, State: consumer.Forbidden, Since: statusTime.Add(-time.Minute), Lag: -1, Reason: "the client may not read the topic"},
	}
	now.Window.Busiest = []batcher.StreamStatus{{Account: "emea", Stream: "st-1\u202e\x1b[31m", Contacts: 1643, Oldest: statusTime.Add(-6 * time.Second), WaitsFor: "turn"}}
	now.DeadLetters = []deadletter.Written{{At: statusTime, Reason: "rejected", Position: "contacts/0@12", Command: "contactsync dlq show contacts/0@12 --config /etc/contactsync/contactsync.yaml", Events: 3}}
	return before, now
}

func TestStatusText_SaysWhatTheReplicaDoes(t *testing.T) {
	t.Parallel()
	before, now := twoStatuses()
	text := statusText(&before, &now, 0, 0)
	for _, want := range []string{
		"contactsync 1.2.3, ready, up for 60 min\n",
		"1643 contacts wait, the oldest event for 7.7 s; 1 partition is not read\n",
		"events read       200.0/s  1200\n",
		"calls             3.0/s    15\n",
		"dead letters      0.0/s    1\n",
		"PARTITION   STATE      FOR    LAG      OLDEST  WHY\ncontacts/1  forbidden  61 s   unknown  -       the client may not read the topic\n" +
			"contacts/2  reading    1.0 s  3        5 min   -\ncontacts/0  reading    1.0 s  12       -       -\n",
		"contacts/0@12  rejected  3       1.0 s ago\nto see the newest:\n  contactsync dlq show contacts/0@12 --config /etc/contactsync/contactsync.yaml\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
}

// What contactsync set-aside asks for, and what the batch is told from others by.
func TestStatusText_SaysWhichBatchCannotBeRead(t *testing.T) {
	t.Parallel()
	before, now := twoStatuses()
	if text := statusText(&before, &now, 0, 0); strings.Contains(text, "UNREADABLE") {
		t.Errorf("none is unreadable:\n%s", text)
	}
	now.Partitions[0].Unreadable = &kafka.Unreadable{Reason: "corrupt", First: 1200, Last: 1249, Bytes: 4096, SHA256: "ab12"}
	now.Partitions[1].Unreadable = &kafka.Unreadable{Reason: "too_large", First: 7, Last: -1}
	want := "UNREADABLE BATCH  LAST     REASON     BYTES  SHA-256\ncontacts/2@7      unknown  too_large  0      -\ncontacts/0@1200   1249     corrupt    4096   ab12\n"
	if text := statusText(&before, &now, 0, 0); !strings.Contains(text, want) {
		t.Errorf("it lacks %q:\n%s", want, text)
	}
}

func TestStatusText_FitsTheTerminal(t *testing.T) {
	t.Parallel()
	before, now := twoStatuses()
	if text := statusText(&before, &now, 60, 0); !strings.Contains(text, "  contactsync dlq show contacts/0@12 \\\n    --config /etc/contactsync/contactsync.yaml\n") {
		t.Errorf("a shell does not take the command:\n%s", text)
	}
	now.Headline.Text = strings.Repeat("very ", 100) + "end"
	now.Partitions[2].Reason = strings.Repeat("long ", 100)
	for _, width := range []int{20, 60, 80} {
		for line := range strings.Lines(statusText(&before, &now, width, 0)) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns where there are %d: %q", n, width, line)
			}
		}
	}
	if text := statusText(&before, &now, 60, 0); !strings.Contains(text, "very very end\n") {
		t.Errorf("the end of the headline is cut off:\n%s", text)
	}
}

// A screen has what tells most: the first lines, and some rows of each list.
func TestStatusText_FitsTheHeightOfAScreen(t *testing.T) {
	t.Parallel()
	before, now := twoStatuses()
	for i := range 20 {
		now.Partitions = append(now.Partitions, consumer.Partition{Topic: "contacts", Partition: int32(i + 3), State: consumer.Reading})
		now.Window.Busiest = append(now.Window.Busiest, now.Window.Busiest[0])
		now.DeadLetters = append(now.DeadLetters, now.DeadLetters[0])
	}
	now.Window.Streams = 321
	for _, height := range []int{5, 23, 40, 60} {
		text := statusText(&before, &now, 80, height)
		if n := strings.Count(text, "\n"); n > height || n < min(height, 35)-6 {
			t.Errorf("%d lines where there are %d:\n%s", n, height, text)
		}
		if !strings.HasPrefix(text, "contactsync 1.2.3, ready") || height > 5 && !strings.Contains(text, "\ncontacts/1  forbidden") {
			t.Errorf("of %d lines:\n%s", height, text)
		}
	}
	if text := statusText(&before, &now, 80, 0); !strings.Contains(text, "\nand 13 more\n") || !strings.Contains(text, "\nand 311 more\n") {
		t.Errorf("it does not say how many rows are left out:\n%s", text)
	}
}

// Of a share it says of what time, and of calls since when.
func TestStatusText_SaysOfWhatTimeCallsAre(t *testing.T) {
	t.Parallel()
	before, now := twoStatuses()
	now.Gates = map[string]app.Gate{"apac": {State: "ready"}, "emea": {State: "budget_exhausted", Until: statusTime.Add(3 * time.Second), Share: 20, Window: 60}, "idle": {State: "budget_exhausted", Window: 3600}}
	want := "ACCOUNT  STATE             ENDS IN  SHARE OF THE BUDGET\n" +
		"apac     ready             -        no limit\nemea     budget_exhausted  2.0 s    20 calls in 60 s\nidle     budget_exhausted  -        0 calls in 60 min\n" +
		"\nCALLS SINCE THE START  DELIVERY  RETRY  ISOLATION  PROBE\napac                   0         0      0          0\nemea                   13        0      0          2\n"
	if text := statusText(&before, &now, 0, 0); !strings.Contains(text, want) {
		t.Errorf("it lacks\n%s\n%s", want, text)
	}
}

func TestStatusText_HasNoRateAcrossARestart(t *testing.T) {
	t.Parallel()
	before, now := twoStatuses()
	before.Started = before.Started.Add(-time.Hour)
	if text := statusText(&before, &now, 0, 0); !strings.Contains(text, "events read       -    1200\n") {
		t.Errorf("a rate between two processes:\n%s", text)
	}
}

func TestStatus_OfARunningReplica(t *testing.T) {
	t.Parallel()
	before, now := twoStatuses()
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/status" {
			http.NotFound(w, r)
			return
		}
		asked++
		status := now
		if asked == 1 {
			status = before
		}
		_ = json.NewEncoder(w).Encode(status)
	}))
	defer s.Close()
	address := strings.TrimPrefix(s.URL, "http://")
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"status", "--admin", address}, nil, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	if !strings.Contains(out.String(), "200.0/s") || strings.ContainsAny(out.String(), "\u202e\x1b") {
		t.Errorf("it prints %q", out.String())
	}
	out.Reset()
	if code := run(t.Context(), []string{"status", "--admin", address, "--output", "json"}, nil, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var got app.Status
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil || got.Flow.Records["update"] != 1150 {
		t.Errorf("%v in %s", err, out.String())
	}
	errs.Reset()
	if code := run(t.Context(), []string{"status", "--admin", "127.0.0.1:1"}, nil, &out, &errs); code != 1 || !strings.Contains(errs.String(), "ask the replica") {
		t.Errorf("where no replica runs: exit code %d: %s", code, errs.String())
	}
}
