package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

func TestProduce_CreatesTheTopicAndWritesTheManifest(t *testing.T) {
	t.Parallel()
	b, err := broker.Start(broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	var all *feed.Manifest
	for i, seqBase := range []string{"0", "1000"} { // the second run finds the topic
		path := filepath.Join(t.TempDir(), "manifest")
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{
			"produce", "--brokers", strings.Join(b.Addrs(), ","), "--topic", "new", "--partitions", "3", "--streams", "2",
			"--contacts", "20", "--events", "300", "--poison", "0.1", "--transactional", "--txn-events", "10", "--abort-share", "0.4",
			"--seq-base", seqBase, "--manifest", path,
		}, &stdout, &stderr)
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr.String())
		}
		if text := stdout.String(); !strings.Contains(text, "300 events to new") || !strings.Contains(text, "undecodable") || !strings.Contains(text, "aborted") {
			t.Errorf("output:\n%s", text)
		}
		m, err := feed.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			all = m
			continue
		}
		all.Append(m)
	}
	records, err := broker.ReadAll(t.Context(), b.Addrs(), "new")
	if err != nil {
		t.Fatal(err)
	}
	sum := all.Sum()
	if want := sum.Events - sum.Classes[feed.Aborted]; sum.Events != 600 || len(records) != want || len(all.Contacts) != 20 {
		t.Errorf("%d records in the topic, %d events of %d contacts in the manifests, want %d records", len(records), sum.Events, len(all.Contacts), want)
	}
	if last := all.LastSeq()[0]; last <= 1000 {
		t.Errorf("the last seq is %d: the second run is not behind the first", last)
	}
}
