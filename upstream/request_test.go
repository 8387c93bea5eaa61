package upstream

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"st-1", "", ".", "..", "../x", "a/b", "%2e%2e", "%2f", "a;b", "a?b", "a#b", `a\b`, "a\r\nb", "a\x00b",
		"a b", "ａ", "․․", "a\n", strings.Repeat("a", 65), "http://x", "//x", "@x", ":80",
	} {
		f.Add(seed)
	}
	base, err := parseHost("https://api.test", false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		defer bounded.Within(t, 1<<20+100*len(stream))()
		u, ok := target(base, stream)
		if !ok {
			return
		}
		want := "https://api.test/agentassist/api/v1/public/" + stream + "/contacts/bulk-update"
		if u.String() != want {
			t.Fatalf("got %s, want %s", u, want)
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != base.Host || again.EscapedPath() != u.EscapedPath() || strings.Count(again.Path, "/") != 7 {
			t.Fatalf("%s reads as %+v, %v", u, again, err)
		}
	})
}

// A gateway's path stands before the API's.
func TestTarget_BehindABasePath(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://API.test": "https://api.test", "https://api.test/": "https://api.test",
		"https://api.test:8443/kore/eu": "https://api.test:8443/kore/eu", "https://api.test/kore/": "https://api.test/kore",
	} {
		base, err := parseHost(raw, false)
		if err != nil {
			t.Fatal(err)
		}
		if u, ok := target(base, "st-1"); !ok || u.String() != want+"/agentassist/api/v1/public/st-1/contacts/bulk-update" {
			t.Errorf("%s: %v, %v", raw, u, ok)
		}
	}
}

func TestTarget_RefusesWhatIsNoStream(t *testing.T) {
	t.Parallel()
	base := &url.URL{Scheme: "https", Host: "api.test"}
	for _, stream := range []string{"", ".", "..", "a/b", "a%2fb", "a.b", "a b", "a\n", "ä", strings.Repeat("a", 65)} {
		if u, ok := target(base, stream); ok {
			t.Errorf("%q led to %s", stream, u)
		}
	}
}

// TestBody_IsReadWhileItIsClosed is what a transport does that gives up on a
// request: it closes the body while another of its goroutines still reads.
func TestBody_IsReadWhileItIsClosed(t *testing.T) {
	t.Parallel()
	var pool bodyPool
	rows := batchOf("a", "b").Rows
	want := "[" + string(rows[0].Body) + "," + string(rows[1].Body) + "]"
	for range 1000 {
		b := pool.encode(rows, time.Time{})
		if string(b.data) != want {
			t.Fatalf("got %s", b.data)
		}
		var readers sync.WaitGroup
		readers.Go(func() {
			got := make([]byte, 16)
			for n, err := 0, error(nil); err == nil; {
				n, err = b.Read(got)
				if !strings.Contains(want, string(got[:n])) {
					t.Errorf("read %q", got[:n])
				}
			}
		})
		readers.Go(func() { _ = b.Close() })
		_ = b.Close()
		next := pool.encode([]contactsync.Row{{Body: []byte(strings.Repeat("!", 64))}}, time.Time{})
		readers.Wait()
		_ = next.Close()
	}
}

func TestBody_IsNotReadOnceItIsClosed(t *testing.T) {
	t.Parallel()
	b := new(bodyPool).encode(batchOf("a").Rows, time.Time{})
	if n, err := b.Read(make([]byte, 5)); n != 5 || err != nil {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	_ = b.Close()
	if n, err := b.Read(make([]byte, 5)); n != 0 || !errors.Is(err, errBodyClosed) {
		t.Errorf("read %d bytes after closing, %v", n, err)
	}
}

func TestBody_LargeBuffersAreNotKept(t *testing.T) {
	t.Parallel()
	var pool bodyPool
	for range 10 {
		_ = pool.encode([]contactsync.Row{{Body: make([]byte, maxPooledBytes+1)}}, time.Time{}).Close()
		if b := pool.encode(batchOf("a").Rows, time.Time{}); cap(b.data) > maxPooledBytes {
			t.Fatalf("a buffer of %d bytes was kept", cap(b.data))
		}
	}
}

// A process that was frozen writes nothing of a request whose time is over, whether its
// context has noticed or not.
func TestBody_IsNotReadAfterItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := new(bodyPool).encode(batchOf("a").Rows, time.Now().Add(time.Second))
		one := make([]byte, 1)
		if n, err := b.Read(one); n != 1 || err != nil {
			t.Fatalf("in time: %d bytes, %v", n, err)
		}
		time.Sleep(2 * time.Second)
		if n, err := b.Read(one); n != 0 || !errors.Is(err, errBodyLate) {
			t.Errorf("too late: %d bytes, %v", n, err)
		}
		late := new(bodyPool).encode(batchOf("a").Rows, time.Now().Add(-time.Second))
		if _, err := late.Read(one); !errors.Is(err, errBodyLate) || late.sent() {
			t.Errorf("late from the start: %v, sent %v", err, late.sent())
		}
	})
}
