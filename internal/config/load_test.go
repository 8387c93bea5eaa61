package config

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/bounded"
)

const minimal = "testdata/minimal.good.yaml"

func TestLoad_GoodFiles(t *testing.T) {
	t.Parallel()
	files := glob(t, "testdata/*.good.yaml")
	for _, file := range append(files, "../../examples/contactsync.yaml", "../../examples/lab.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			c, err := Load(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			reread(t, c)
		})
	}
}

// reread checks that what YAML prints loads to the same settings.
func reread(t *testing.T, c Config) {
	t.Helper()
	first, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := load("printed.yaml", string(first), nil)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, first)
	}
	second, err := again.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Errorf("printed and read again:\n%s\nwas\n%s", second, first)
	}
}

func TestLoad_Values(t *testing.T) {
	t.Parallel()
	c, err := Load("testdata/forms.good.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  brokers: [kafka-0.example.com:9092, kafka-1.example.com:9092]\n", "    enabled: true\n", "  topics: [contacts.eu, contacts.us]\n",
		"  group: \"0042\"\n", "  catchup_max: 0s\n", "  fetch_min_bytes: 1B\n", "  fetch_max_bytes: 2MiB\n",
		"  commit_events: 1000\n", "  max_event_bytes: 64KiB\n", "  linger: 1m30s\n", "    failure_ratio: 0.25\n",
		"    success_ids: [id]\n", "    - id: us\n", "      streams: [us-1, us-2]\n", "        client_id: \"true\"\n",
		"        claims: {nested: {\"on\": true}, roles: [a, b], tenant: 7}\n", "        window: 30s\n", "  level: debug\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("lacks %q in\n%s", want, text)
		}
	}
	if a := c.Upstream.Accounts[0]; a.ID != "007" || *a.Budget.Requests != 0 {
		t.Errorf("id %q with %d requests, want 007 with 0, as written", a.ID, *a.Budget.Requests)
	}
}

func TestLoad_BadFiles(t *testing.T) {
	t.Parallel()
	files := glob(t, "testdata/*.bad.yaml")
	for i := range files {
		files[i] = strings.TrimSuffix(filepath.Base(files[i]), ".bad.yaml")
	}
	if named := slices.Sorted(maps.Keys(badFiles)); !slices.Equal(named, files) {
		t.Errorf("the table names\n%v\nand testdata holds\n%v", named, files)
	}
	for name, want := range badFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := "testdata/" + name + ".bad.yaml"
			_, err := Load(file, nil)
			all, ok := errors.AsType[Errors](err)
			if !ok {
				t.Fatalf("got %v, want Errors", err)
			}
			for _, f := range all {
				if f.File != file {
					t.Errorf("%v names the file %q", f, f.File)
				}
			}
			if got := strings.ReplaceAll(err.Error(), file, ""); got != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}

func TestLoad_Origins(t *testing.T) {
	t.Parallel()
	_, err := Load("testdata/unknown_key.bad.yaml", []string{"CONTACTSYNC_LOG_LEVEL=loud"})
	all, ok := errors.AsType[Errors](err)
	if !ok {
		t.Fatalf("got %v, want Errors", err)
	}
	var got []string
	for _, f := range all {
		got = append(got, f.Key+" from "+f.From)
	}
	want := []string{
		"consumer.group from default", "consumer.grop from file",
		"log.level from environment CONTACTSYNC_LOG_LEVEL",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoad_Bounds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"bytes":  {"# " + strings.Repeat("x", maxBytes), ": the file is larger than 1MiB"},
		"tokens": {"x: [" + strings.Repeat("a,", maxTokens/2) + "a]", ": the file has more than 100000 tokens"},
		"braces": {strings.Repeat("{a: ", 2*maxDepth), ":1: lists and mappings are nested deeper than 32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "contactsync.yaml")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(file, nil); err == nil || err.Error() != file+test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// A pipe that somebody holds open and does not write to would keep the program from its start, and from a stop.
func TestLoad_DoesNotWaitForASilentPipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here")
	}
	writer, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := writer.WriteString("log: {level: info}"); err != nil {
		t.Fatal(err)
	}
	if text, err := read(pipe, time.Now()); err == nil {
		t.Errorf("what has no end is read: %q", text)
	}
}

func TestLoad_Unreadable(t *testing.T) {
	t.Parallel()
	if _, err := Load("testdata/no-such-file.yaml", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v, want an error that is fs.ErrNotExist", err)
	}
	if _, err := Load("testdata", nil); err == nil || !strings.Contains(err.Error(), "testdata") {
		t.Errorf("directory: got %v, want an error that names it", err)
	}
}

func TestDefaults_AreValid(t *testing.T) {
	t.Parallel()
	for _, f := range DefaultConfig().Validate() {
		if !slices.Contains(required, f.Key) {
			t.Errorf("the default of %s is wrong: %s; only %v may have none", f.Key, f.Problem, required)
		}
	}
}

// required are the settings without a default that works.
var required = []string{"kafka.brokers", "consumer.topics", "consumer.group", "upstream.accounts", "deadletter.topic"}

func TestYAML_HoldsEveryKey(t *testing.T) {
	t.Parallel()
	c, err := Load(minimal, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		last := k.Path[strings.LastIndexByte(k.Path, '.')+1:]
		if !strings.Contains(string(text), last+":") {
			t.Errorf("%s is not printed", k.Path)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.good.yaml", "testdata/*.bad.yaml"} {
		for _, file := range glob(f, pattern) {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text), "CONTACTSYNC_CONSUMER_TOPICS=a,b")
		}
	}
	f.Fuzz(func(t *testing.T, text, variable string) {
		defer bounded.Within(t, 4<<20+1000*(len(text)+len(variable)))()
		c, _, err := load("fuzz.yaml", text, []string{variable})
		if err == nil {
			reread(t, c)
			return
		}
		all, ok := errors.AsType[Errors](err)
		if !ok || len(all) == 0 {
			t.Fatalf("got %v, want Errors", err)
		}
		for _, l := range all {
			if lines := 1 + strings.Count(text, "\n") + strings.Count(text, "\r"); l.Line < 0 || l.Line > lines {
				t.Errorf("%v is beyond the last line, %d", l, lines)
			}
		}
	})
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files match %s: %v", pattern, err)
	}
	return files
}
