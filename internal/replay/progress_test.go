package replay_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/replay"
)

func TestOpenProgress(t *testing.T) {
	t.Parallel()
	const head = "contactsync replay 1\n"
	for _, c := range []struct{ name, text, left, fault string }{
		{"new", "", head, ""},
		{"torn in its first line", "contactsync re", head, ""},
		{"without a letter", head, head, ""},
		{"torn", head + "begun t/1@5\nbeg", head + "begun t/1@5\n", ""},
		{"somebody else's", "hello\n", "", "it is none"},
		{"somebody else's, without a line", "hello", "", "it is none"},
		{"damaged", head + "begun t/1@5\nwhat t/1@6\n", "", "line 3 is damaged"},
		{"damaged position", head + "done 6\n", "", "line 2 is damaged"},
	} {
		path := filepath.Join(t.TempDir(), "progress")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := replay.OpenProgress(path)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %q", c.name, err, c.fault)
			}
			c.left = c.text // as it was
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		} else if err := p.Close(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != c.left {
			t.Errorf("%s: the file holds %q, %v: want %q", c.name, text, err, c.left)
		}
	}
}

func TestOpenProgress_OneRunAtATime(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no such locks")
	}
	path := filepath.Join(t.TempDir(), "progress")
	first, err := replay.OpenProgress(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replay.OpenProgress(path); err == nil || !strings.Contains(err.Error(), "is another replay at work") {
		t.Errorf("opened twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := replay.OpenProgress(path)
	if err != nil {
		t.Fatalf("after it was closed: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}
