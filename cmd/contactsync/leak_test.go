package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/leak"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/internal/lab/loopback"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// asProgram in the environment has this binary be the program, so that what the runtime writes
// is seen too.
const asProgram = "LEAK_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// leakLab is the program in a process of its own, between topics and hosts that hold planted texts.
type leakLab struct {
	*harness.Lab
	t     *testing.T
	apis  *leakyAPIs
	dir   string
	admin string
	// places are what was written, by where.
	places map[string][]byte
	told   []string // places in their order
}

func newLeakLab(t *testing.T) *leakLab {
	t.Helper()
	h, err := harness.New(4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	addrs, err := loopback.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	l := &leakLab{Lab: h, t: t, apis: newLeakyAPIs(t), dir: t.TempDir(), admin: addrs[0], places: map[string][]byte{}}
	return l
}

func (l *leakLab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// file writes settings with a log of that format.
func (l *leakLab) file(format string) string {
	l.t.Helper()
	secret, ca, file := filepath.Join(l.dir, "secret"), filepath.Join(l.dir, "ca.pem"), filepath.Join(l.dir, format+".yaml")
	l.must(os.WriteFile(secret, []byte(stub.LabSecret), 0o600))
	l.must(os.WriteFile(ca, l.apis.root.PEM, 0o600))
	var accounts strings.Builder
	for _, api := range l.apis.all {
		fmt.Fprintf(&accounts, "    - {id: %s, host: %q, allow_plaintext: true, streams: ['%[1]s*'], budget: {requests: 0}, credentials: {client_id: %[3]s, client_secret_file: %[4]q}}\n",
			api.name, api.url, stub.LabAppID, secret)
	}
	text := fmt.Sprintf(`
kafka: {brokers: [%q]}
consumer: {topics: [%s], group: %s, session_timeout: 6s, heartbeat_interval: 200ms, fetch_max_wait: 50ms, commit_interval: 100ms, drain_timeout: 1s, on_unreadable_batch: set_aside, on_unreadable_feed: "off"}
batcher: {linger: 50ms, backoff_min: 50ms, backoff_max: 500ms, ambiguous_retry_delay: 100ms, dead_letter_max_per_minute: 100000, dead_letter_max_ratio: 1}
deadletter: {topic: %s}
admin: {listen: %q, pprof: true}
log: {level: debug, format: %s}
upstream:
  timeout: 1s
  throttle_max: 1s
  ca_file: %q
  breaker: {open: 500ms}
  accounts:
%s`, l.Brokers[0], l.Topic, l.Group, l.DeadLetters, l.admin, format, ca, &accounts)
	l.must(os.WriteFile(file, []byte(text), 0o600))
	return file
}

// produce writes contacts whose members are planted texts, and records that cannot be read.
func (l *leakLab) produce() {
	l.t.Helper()
	var all []*kgo.Record
	planted := leak.Planted()
	contact := func(stream, id string, i int) *kgo.Record {
		text := func(n int) string { return quoted(planted[(i+n)%len(planted)]) }
		return &kgo.Record{Topic: l.Topic, Key: []byte(stream + "/" + id), Value: fmt.Appendf(nil,
			`{"streamId":%q,"contact":{"id":%q,"firstName":%s,"lastName":%s,"fullName":%s,"salutation":%s,"cellPhone":{"extension":"+","phoneNumber":"24%08d","countryCode":"+91"},%s:%s}}`,
			stream, id, text(0), text(1), text(2), text(3), i, text(4), text(5))}
	}
	for i := range planted { // so that each is the reason of one dead letter
		stream := "refused-200"
		if i > 0 { // each is refused alone
			stream += fmt.Sprint("-", i)
		}
		all = append(all, contact(stream, fmt.Sprint("c", i), i))
	}
	for i := range 100 { // and believed to be when others are accepted
		all = append(all, contact(fmt.Sprint("refused-200-good-", i), fmt.Sprint("good", i), i))
	}
	for _, api := range l.apis.all {
		for i := range 3 {
			if api.name != "refused-200" {
				all = append(all, contact(api.name, fmt.Sprint("c", i), i))
			}
		}
	}
	for i, text := range planted {
		q, good := quoted(text), string(contact("accepted", "x", i).Value)
		for _, value := range []string{
			text,
			`{"streamId":"accepted","contact":{"id":"c1","lastName":` + q,
			`{"streamId":"accepted","contact":{"id":"c1",` + q + `:1,` + q + `:2}}`,
			`{"streamId":"accepted","contact":{"id":"c1","lastName":{"of":` + q + `},"cellPhone":` + q + `}}`,
			`{"streamId":"accepted","contact":{"id":` + quoted([]string{text}) + `}}`,
			`{"streamId":` + quoted(" "+text) + `,"contact":{"id":"c1"}}`,
			`{"streamId":"accepted","op":` + q + `,"contact":{"id":"c1"}}`,
			`[` + q + `]`,
			q,
			strings.Replace(good, `"phoneNumber":"`, `"phoneNumber":`+q+`,"x":"`, 1),
			strings.Replace(good, `"countryCode":"+91"`, `"countryCode":`+q, 1),
			strings.Replace(good, `"extension":"+"`, `"extension":`+q, 1),
			good[:len(good)-2] + `,"` + "\xff" + text + `":1}}`,
		} {
			all = append(all, &kgo.Record{Topic: l.Topic, Key: []byte(text), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: text, Value: []byte(text)}}})
		}
		for _, header := range []string{"contactsync-replays", "contactsync-origin", "contactsync-form"} {
			rec := contact("accepted", fmt.Sprint("r", i), i)
			rec.Headers = []kgo.RecordHeader{{Key: header, Value: []byte(text)}}
			all = append(all, rec)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	l.must(err)
	defer client.Close()
	for i := range all {
		all[i].Partition = int32(i % 2)
	}
	l.must(client.ProduceSync(l.t.Context(), all...).FirstErr())
	text := []byte(strings.Join(planted, " "))
	for p, spoil := range map[int32]func([]byte) []byte{
		2: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, // its checksum is wrong
		3: func(b []byte) []byte { return b },
	} {
		l.must(l.PutRaw(l.t.Context(), p, func(offset int64) []byte {
			if p == 3 { // its records are text
				return kafkatest.Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: offset, NumRecords: 1, Records: text})
			}
			return spoil(kafkatest.Batch(kmsg.RecordBatch{FirstOffset: offset}, kmsg.Record{Key: text, Value: text}))
		}))
	}
	_, err = l.Put(l.t.Context(), []feed.Contact{{Stream: "accepted", ID: "last"}}, []feed.Event{feed.NewUpdate(feed.Contact{Stream: "accepted", ID: "last"}, 0, 1, feed.Update)})
	l.must(err)
}

// wrote notes what a place holds. Places without a text would prove nothing.
func (l *leakLab) wrote(place string, text []byte) {
	l.t.Helper()
	if len(text) == 0 {
		l.t.Errorf("%s is empty", place)
	}
	if _, there := l.places[place]; !there {
		l.told = append(l.told, place)
	}
	l.places[place] = append(l.places[place], text...)
}

// process is the running program.
type process struct {
	*exec.Cmd
	log logbuffer.Buffer
}

func (l *leakLab) start(format string) *process {
	l.t.Helper()
	p := &process{Cmd: exec.CommandContext(l.t.Context(), os.Args[0], "run", "--config", l.file(format))}
	p.Env = append(os.Environ(), asProgram+"=1", "GOTRACEBACK=all")
	p.Stdout, p.Stderr = &p.log, &p.log
	l.must(p.Start())
	return p
}

// end sends a signal and takes what the process has written in all.
func (l *leakLab) end(p *process, signal os.Signal, place, want string) {
	l.t.Helper()
	l.must(p.Process.Signal(signal))
	if err := p.Wait(); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || signal != syscall.SIGQUIT {
			l.t.Errorf("%s: %v, %v", place, exit, err)
		}
	}
	text := p.log.String()
	if !strings.Contains(text, want) {
		l.t.Errorf("%s lacks %q:\n%.3000s", place, want, text)
	}
	l.wrote(place, []byte(text))
}

func (l *leakLab) until(p *process, what string, ok func() bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	if harness.Wait(ctx, ok) != nil {
		text := p.log.String()
		l.t.Fatalf("waited half a minute for %s; the log ends in\n%s", what, text[max(0, len(text)-3000):])
	}
}

// inBrowser returns the page as a browser shows it; nil in tests without one (make page).
var inBrowser func(t *testing.T, url string) string

// published is how many dead letters were written for a reason.
func (l *leakLab) published(reason string) (n int) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "http://"+l.admin+"/metrics", http.NoBody)
	l.must(err)
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	l.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	l.must(err)
	_, value, _ := strings.Cut(string(text), fmt.Sprintf("\ncontactsync_deadletter_published_total{reason=%q} ", reason))
	_, _ = fmt.Sscan(value, &n) // 0 where there is none
	return n
}

// pages reads everything that the admin port has.
func (l *leakLab) pages() {
	l.t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for _, path := range []string{
		"/", "/metrics", "/api/status", "/api/answers", "/api/explain?stream=refused-200&contact=c0", "/api/explain?stream=unauthorized&contact=c0", "/api/explain?stream=accepted&contact=r1", "/status", "/livez", "/readyz", "/api/events",
		"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1", "/debug/pprof/block?debug=1",
	} {
		req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "http://"+l.admin+path, http.NoBody)
		l.must(err)
		res, err := client.Do(req)
		l.must(err)
		var body []byte
		if path == "/api/events" { // which has no end: one event is a line
			body, err = bufio.NewReader(res.Body).ReadBytes('\n')
		} else {
			body, err = io.ReadAll(res.Body)
		}
		_ = res.Body.Close()
		l.must(err)
		l.wrote("GET "+path, append(fmt.Appendf(nil, "%v\n", res.Header), body...))
	}
	if inBrowser != nil {
		l.wrote("the page in a browser", []byte(inBrowser(l.t, "http://"+l.admin+"/")))
	}
}

// commands runs each command that prints.
func (l *leakLab) commands() {
	l.t.Helper()
	file := l.file("json")
	first := fmt.Sprint(l.Topic, "/0@0")
	for _, args := range [][]string{
		{"check"},
		{"check", "--print"},
		{"check", "--connect"},
		{"dlq", "list", "--limit", "0"},
		{"dlq", "list", "--limit", "0", "-o", "json"},
		{"dlq", "show", first},
		{"dlq", "show", first, "-o", "json"},
		{"dlq", "stats"},
		{"dlq", "replay", "--dry-run"},
		{"hold", "list"},
		{"answers"},
		{"answers", "-o", "json"},
		{"explain", "accepted", "r1"},
		{"status"},
		{"status", "-o", "json"},
		{"explain", "unauthorized", "c0"},
		{"explain", "refused-200", "c0", "--topics"},
		{"explain", "bad-request", "c1", "--topics", "-o", "json"},
	} {
		var out, errs strings.Builder
		full := append(slices.Clone(args), "--config", file)
		code := run(l.t.Context(), full, nil, &out, &errs)
		if code == 2 {
			l.t.Errorf("%q: %s", args, &errs)
		}
		l.wrote("contactsync "+strings.Join(args, " "), []byte(out.String()+errs.String()))
	}
	// The control: these are asked for.
	for _, args := range []func() []string{
		func() []string { return []string{"dlq", "show", first, "--answer", "--value"} },
		func() []string { return []string{"answers", l.keptHash(file)} },
	} {
		var out, errs strings.Builder
		for range 50 { // a text may give way to newer ones before it is asked for
			out.Reset()
			errs.Reset()
			if run(l.t.Context(), append(args(), "--config", file), nil, &out, &errs) == 0 {
				break
			}
		}
		if len(leak.Search([]byte(out.String()))) == 0 {
			l.t.Errorf("%q shows none:\n%s%s", args(), &out, &errs)
		}
	}
}

// asPrinted runs the command that a log names last, and wants it to show what it says.
func (l *leakLab) asPrinted(log string) {
	l.t.Helper()
	at := strings.LastIndex(log, `"command":"contactsync `)
	if at < 0 {
		l.t.Error("the log names no command")
		return
	}
	command, _, _ := strings.Cut(log[at+len(`"command":"contactsync `):], `"`)
	var out, errs strings.Builder
	if code := run(l.t.Context(), strings.Fields(command), nil, &out, &errs); code != 0 || !strings.Contains(out.String(), "position ") {
		l.t.Errorf("%q of the log: exit code %d\n%s%s", command, code, &out, &errs)
	}
}

// keptHash is that of the newest text that the replica keeps.
func (l *leakLab) keptHash(file string) string {
	l.t.Helper()
	var out, errs strings.Builder
	run(l.t.Context(), []string{"answers", "-o", "json", "--config", file}, nil, &out, &errs)
	var kept struct{ Hash string }
	if err := json.NewDecoder(strings.NewReader(out.String())).Decode(&kept); err != nil {
		l.t.Errorf("no text is kept: %v\n%s", err, &errs)
	}
	return kept.Hash
}

// letters reads the dead-letter topic: what may hold planted texts, and what may not.
func (l *leakLab) letters() map[string][]byte {
	l.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Brokers...), kgo.ConsumeTopics(l.DeadLetters))
	l.must(err)
	defer client.Close()
	parts := map[string][]byte{}
	for read := 0; ; {
		ctx, cancel := context.WithTimeout(l.t.Context(), time.Second)
		fetches := client.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			if read == 0 {
				l.t.Error("there is no dead letter")
			}
			return parts
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			read++
			add := func(part string, text []byte) { parts[part] = append(append(parts[part], text...), '\n') }
			add("key", rec.Key)
			add("value", rec.Value)
			for _, h := range rec.Headers {
				switch {
				case h.Key == "contactsync-answer":
					add("answer", h.Value)
				case slices.Contains([]string{"contactsync-replays", "contactsync-origin"}, h.Key) || !strings.HasPrefix(h.Key, "contactsync-"):
					add("headers of the record", slices.Concat([]byte(h.Key), []byte("\n"), h.Value))
				default:
					add("headers of ours", slices.Concat([]byte(h.Key), []byte("\n"), h.Value))
				}
			}
		})
	}
}

// TestProgram_LeaksNothing has the program meet planted names, numbers, tokens, secrets and
// paths in everything that an API and a topic can send, and looks for them in everything that
// it writes. Only dead letters may have them, and must.
func TestProgram_LeaksNothing(t *testing.T) {
	t.Parallel()
	l := newLeakLab(t)
	l.produce()
	p := l.start("json")
	l.until(p, "every host to be called", func() bool {
		return !slices.ContainsFunc(l.apis.all, func(a *leakyAPI) bool { return a.calls.Load() == 0 })
	})
	l.until(p, "an answer that nobody asked for", func() bool { return strings.Contains(p.log.String(), "a library had something to say") })
	l.until(p, "further calls, after every refusal", func() bool {
		calls := int64(0)
		for _, a := range l.apis.all {
			calls += a.calls.Load()
		}
		return calls > 8*int64(len(l.apis.all))
	})
	l.until(p, "each text to be the reason of a dead letter", func() bool { return l.published("rejected") >= len(leak.Planted()) })
	l.pages()
	l.commands()
	l.asPrinted(p.log.String())
	l.end(p, syscall.SIGQUIT, "log in JSON, and the stacks of a crash", "goroutine 1 ")
	p = l.start("text")
	l.until(p, "the second one to have called each host", func() bool { return strings.Contains(p.log.String(), "started") })
	l.end(p, syscall.SIGTERM, "log as text, to a stop in order", "stopped")
	l.apis.mu.Lock()
	l.wrote("lines and headers of requests", []byte(l.apis.requests.String()))
	tokens := slices.Collect(maps.Keys(l.apis.tokens))
	l.apis.mu.Unlock()
	parts := l.letters()
	l.wrote("dead letters: headers of ours", parts["headers of ours"])

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "bytes\tfound\t place")
	total := 0
	for _, place := range l.told {
		text := l.places[place]
		found := leak.Search(text)
		total += len(found)
		fmt.Fprintf(w, "%d\t%d\t %s\n", len(text), len(found), place)
		for _, f := range found[:min(len(found), 5)] {
			at := max(0, bytes.Index(text, []byte(f.Text)))
			t.Errorf("%s has %q (%s): …%.300q", place, f.Text, f.Encoding, text[max(0, at-200):])
		}
		for _, secret := range append(tokens, stub.LabSecret) {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s has a token or the secret of the settings", place)
			}
		}
	}
	for _, part := range []string{"answer", "key", "value", "headers of the record"} {
		found := len(leak.Search(parts[part]))
		fmt.Fprintf(w, "%d\t%d\t dead letters, the control: %s\n", len(parts[part]), found, part)
		if found != len(leak.Planted()) {
			t.Errorf("the search finds %d of %d texts in the %s of dead letters", found, len(leak.Planted()), part)
		}
	}
	for _, secret := range append(tokens, stub.LabSecret) {
		if bytes.Contains(parts["answer"], []byte(secret)) {
			t.Error("a dead letter has a token or the secret of the settings")
		}
	}
	_ = w.Flush() // to a string
	calls := int64(0)
	for _, a := range l.apis.all {
		calls += a.calls.Load()
	}
	t.Logf("%d texts planted by %d kinds of hosts in %d answers, and in records; %d found outside dead letters, in %d encodings:\n%s\n%s",
		len(leak.Planted()), len(l.apis.all), calls, total, len(leak.Encodings()), strings.Join(leak.Encodings(), "; "), &table)
}
