//go:build browser

package browser

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/admin"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/lab/leak"
)

var pictures = flag.String("pictures", "", "directory to write screenshots to")

// server serves the page with what status returns.
func server(t *testing.T, status func() app.Status) string {
	t.Helper()
	s, err := admin.Listen(t.Context(), admin.Config{Listen: "127.0.0.1:0"}, admin.Deps{
		Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Status: func() any { return status() },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.Addr() + "/"
}

// tab opens the page, and fails the test for whatever the browser complains about, and for
// requests to any other place.
func tab(t *testing.T, browser context.Context, url string, before ...chromedp.Action[chromedp.Void]) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	do(t, ctx) // opens it; a time-out of this context would end the browser
	var mu sync.Mutex
	var complaints []string
	if err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			complaints = append(complaints, e.Entry.Text)
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Text)
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, url) && !strings.HasPrefix(e.Request.URL, "data:,") {
				complaints = append(complaints, "a request to "+e.Request.URL)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range complaints {
			t.Errorf("the browser says: %s", c)
		}
	})
	do(t, ctx, call(log.Enable, cdp.Empty{}), call(network.Enable, network.EnableParams{}), call(runtime.Enable, cdp.Empty{}))
	do(t, ctx, before...)
	do(t, ctx, chromedp.Navigate(url), wait(`document.getElementById('headline').textContent !== ''`))
	return ctx
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// call is a step that sends a command of the browser's protocol.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, params)
		return err
	})
}

// wait is a step that ends when a condition holds in the page.
func wait(condition string) chromedp.Action[chromedp.Void] {
	return chromedp.Poll[chromedp.Void](condition, chromedp.WithPollingTimeout(time.Minute))
}

func value[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// looks has the browser ask for light or dark.
func looks(scheme string) chromedp.Action[chromedp.Void] {
	return call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU) //nolint:gocritic // the options are copied
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancelBrowser := chromedp.NewContext(ctx)
	t.Cleanup(cancelBrowser)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium, which this test needs: %v", err)
	}
	return ctx
}

var began = time.Now()

// busy is a status with everything in it, which moves on as it is looked at.
func busy() func() app.Status {
	var turn atomic.Int64
	return func() app.Status {
		n := turn.Add(1)
		now := time.Now()
		s := empty()
		s.Headline = app.Headline{Text: "1643 contacts wait, the oldest event for 12 s; 1 partition is not read", Level: "bad"}
		s.Flow = app.Flow{
			Records: map[string]int64{"update": 10_000 + 500*n}, Events: map[string]int64{"delivered": 9_000 + 400*n, "dead_letter": 12},
			Requests: []app.Requests{{Account: "emea", Purpose: "delivery", Kind: "answered", Count: 100 + 4*n}, {Account: "emea", Purpose: "probe", Kind: "unauthorized", Count: n}},
		}
		s.Partitions = []consumer.Partition{
			{Topic: "contacts", Partition: 0, State: consumer.Reading, Since: began, Committed: 12, Next: 900, End: 1000, Lag: 988, Oldest: now.Add(-12 * time.Second)},
			{Topic: "contacts", Partition: 1, State: consumer.Halted, Reason: "offsets 3 to 9 were deleted before they were read", Since: began, Committed: -1, Next: 3, End: -1, Lag: -1},
		}
		s.Window = batcher.Status{
			Bytes: 90 << 20, BytesLimit: 256 << 20, PendingContacts: 1643, Streams: 12, InFlightRequests: 3, Oldest: now.Add(-12 * time.Second),
			Accounts: []batcher.AccountStatus{{Account: "emea", HeldStreams: 1, HeldContacts: 40, RequestMaxRows: 100, Accepted: 5000, Rejected: 3}},
			Holds:    []batcher.HoldStatus{{Kind: "stream_gone", Account: "emea", Stream: "st-0019", Since: began, NextProbe: now.Add(40 * time.Second), Contacts: 40, Status: 404}},
			Busiest:  []batcher.StreamStatus{{Account: "emea", Stream: "st-0007", Contacts: 1500, Oldest: now.Add(-12 * time.Second), WaitsFor: "turn"}},
		}
		s.DeadLetters = []deadletter.Written{{At: now.Add(-time.Minute), Reason: "rejected", Position: "contacts/0@455", Command: "contactsync dlq show contacts/0@455 --config /etc/contactsync/contactsync.yaml", Events: 2, Status: 200, Attempts: 1}}
		return s
	}
}

// empty is the status of a replica that has just started.
func empty() app.Status {
	return app.Status{
		Version: "1.2.3", Time: time.Now(), Started: began, Headline: app.Headline{Text: "nothing waits", Level: "good"},
		Gates: map[string]app.Gate{"emea": {State: "budget_exhausted", Share: 60, Window: 60}}, Partitions: []consumer.Partition{}, Window: batcher.Status{Accounts: []batcher.AccountStatus{}, Holds: []batcher.HoldStatus{}, Busiest: []batcher.StreamStatus{}},
		DeadLetters: []deadletter.Written{}, Flow: app.Flow{Requests: []app.Requests{}},
	}
}

func TestPage_ShowsTheStatusAndFollowsIt(t *testing.T) {
	ctx := tab(t, browser(t), server(t, busy()))
	do(t, ctx, wait(`/^[1-9]/.test(document.querySelector('#flow dd').textContent)`)) // a rate needs two statuses
	for _, want := range []string{
		"1643 contacts wait", "contacts/1", "halted", "offsets 3 to 9 were deleted", "st-0019", "stream_gone", "st-0007", "contacts/0@455", "rejected", "contactsync dlq show contacts/0@455 --config", "emea", "delivery ", "1 stream, 40 contacts", "60 calls in 60 s", "Calls a minute, of the last ",
	} {
		if text := value[string](t, ctx, `document.body.innerText`); !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if first := value[string](t, ctx, `document.querySelector('#partitions tbody td').textContent`); first != "contacts/1" {
		t.Errorf("the first partition is %s, not the one that is not read", first)
	}
	if age := value[string](t, ctx, `document.querySelector('#partitions tbody tr:last-child td[data-label="Oldest event"]').textContent`); age != "12 s" {
		t.Errorf("the oldest event of the second partition is %s old, not 12 s", age)
	}
}

func TestPage_OfAReplicaThatHasJustStarted(t *testing.T) {
	ctx := tab(t, browser(t), server(t, empty))
	if text := value[string](t, ctx, `document.body.innerText`); !strings.Contains(text, "Nothing waits.") || strings.Contains(text, "NaN") || strings.Contains(text, "undefined") {
		t.Errorf("the page says:\n%s", text)
	}
	if rate := value[string](t, ctx, `points.length = 0, lately(rates((p) => p.read))`); rate != "–" {
		t.Errorf("from one status it tells a rate of %s", rate)
	}
}

// Contacts that are refused alone are on hold though no stream is.
func TestPage_ShowsContactsOnHoldWithoutAStream(t *testing.T) {
	ctx := tab(t, browser(t), server(t, func() app.Status {
		s := empty()
		s.Window.Accounts = []batcher.AccountStatus{{Account: "emea", HeldContacts: 7, HeldEvents: 9}}
		return s
	}))
	if text := value[string](t, ctx, `document.body.innerText`); !strings.Contains(text, "0 streams, 7 contacts") {
		t.Errorf("the page lacks the contacts on hold:\n%s", text)
	}
}

// contrast is the smallest ratio between a text's colour and its ground, of all elements.
const contrast = `(() => {
  const light = (c) => { const [r, g, b] = c.match(/[\d.]+/g).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$/.test(c) && c !== 'transparent') return c; } return 'rgb(255, 255, 255)'; };
  let least = 21;
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
})()`

func TestPage_IsReadableInLightAndDark(t *testing.T) {
	b, grounds := browser(t), map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		ctx := tab(t, b, server(t, busy()), looks(scheme))
		if got := value[float64](t, ctx, contrast); got < 4.5 {
			t.Errorf("%s: a contrast is %.1f, at least 4.5 is asked for", scheme, got)
		}
		grounds[value[string](t, ctx, `getComputedStyle(document.body).backgroundColor`)] = true
	}
	if len(grounds) != 2 {
		t.Errorf("light and dark look alike: %v", grounds)
	}
}

func TestPage_WorksByKeyboardAndForAScreenReader(t *testing.T) {
	ctx := tab(t, browser(t), server(t, busy()))
	for range 2 { // the link that skips the head, then the button
		do(t, ctx, chromedp.KeyEvent(kb.Tab))
	}
	do(t, ctx, chromedp.KeyEvent(" "))
	if text := value[string](t, ctx, `document.activeElement.textContent`); text != "Go on" {
		t.Errorf("the focus is on %q, not on the button, which says now that the page is paused", text)
	}
	do(t, ctx, chromedp.KeyEvent(" "), wait(`document.getElementById('pause').textContent === 'Pause'`))

	do(t, ctx, call(accessibility.Enable, cdp.Empty{}))
	tree, err := chromedp.Run(ctx, func(ctx context.Context, target *chromedp.Target) (accessibility.GetFullAXTreeResult, error) {
		return cdp.Call(ctx, target, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, n := range tree.Nodes {
		if n.Role != nil && !n.Ignored {
			name := ""
			if n.Name != nil {
				name = strings.Trim(string(n.Name.Value), `"`)
			}
			found[strings.Trim(string(n.Role.Value), `"`)+" "+name] = true
		}
	}
	for _, want := range []string{
		"heading Flow now", "heading Partitions", "heading Streams on hold", "region Partitions", "button Pause", "link Skip to the content", "main ", "columnheader Lag",
	} {
		if !found[want] {
			t.Errorf("a screen reader does not find %q", want)
		}
	}
}

func TestPage_Pictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("pictures are written with -args -pictures DIR: make page")
	}
	b := browser(t)
	for name, actions := range map[string][]chromedp.Action[chromedp.Void]{
		"status-light": {chromedp.EmulateViewport(1200, 900)},
		"status-dark":  {chromedp.EmulateViewport(1200, 900), looks("dark")},
		"status-phone": {chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile)},
	} {
		ctx := tab(t, b, server(t, busy()), actions...)
		do(t, ctx, wait(`document.querySelectorAll('#flow polyline').length > 2 && document.querySelector('#flow polyline').points.length > 8`))
		picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(*pictures+"/"+name+".png", picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The control of the search for what leaks into the page: what the status has, it finds.
func TestPage_LetsTheSearchForLeaksFindWhatItShows(t *testing.T) {
	s := empty()
	for i, text := range leak.Planted() {
		hold, stream := batcher.HoldStatus{Kind: "rejecting", Account: "emea", Stream: fmt.Sprint("st-", i), Since: began, Detail: text}, batcher.StreamStatus{Account: "emea", Stream: text}
		if i%2 == 0 {
			s.Window.Holds = append(s.Window.Holds, hold)
		} else {
			s.Window.Busiest = append(s.Window.Busiest, stream)
		}
	}
	ctx := tab(t, browser(t), server(t, func() app.Status { return s }))
	for _, of := range []string{`document.body.innerText`, `document.documentElement.outerHTML`} {
		if found := leak.Search([]byte(value[string](t, ctx, of))); len(found) != len(leak.Planted()) {
			t.Errorf("%s: %d texts are found of %d", of, len(found), len(leak.Planted()))
		}
	}
}
