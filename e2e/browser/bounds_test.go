//go:build browser

package browser

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
)

// hostile is a name that would do harm where it is not shown as text.
const hostile = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>` + "\u202e\u2066\x1b]0;x\x07\x00"

// full has more of everything than a page can show, under names that try to do harm.
func full() app.Status {
	s := busy()()
	s.NotReady = hostile
	s.Headline.Text = hostile
	for i := range 1000 {
		s.Partitions = append(s.Partitions, consumer.Partition{Topic: hostile, Partition: int32(i), State: consumer.Unavailable, Reason: hostile, Since: began})
	}
	for i := range 100 {
		s.Window.Holds = append(s.Window.Holds, batcher.HoldStatus{Kind: "rejecting", Account: hostile, Stream: fmt.Sprint(hostile, i), Since: began})
	}
	s.Window.HoldsLeft = 7000
	for i := range 20 {
		s.Window.Busiest = append(s.Window.Busiest, batcher.StreamStatus{Account: hostile, Stream: fmt.Sprint(strings.Repeat("long", 100), i), WaitsFor: "hold"})
	}
	s.Flow.Requests = append(s.Flow.Requests, app.Requests{Account: hostile, Purpose: "delivery", Kind: "answered", Count: 1})
	for i := range 1000 {
		s.Gates[fmt.Sprint(hostile, i)] = app.Gate{State: hostile}
	}
	for range 50 {
		s.DeadLetters = append(s.DeadLetters, deadletter.Written{At: began, Reason: hostile, Position: hostile, Command: hostile})
	}
	return s
}

// large is what a replica says that owns 200 partitions, none of which is read, and 100,000
// streams: as many of them as a status has.
func large() app.Status {
	s := full()
	s.Partitions = s.Partitions[:200]
	s.Window.Streams, s.Window.HoldsLeft = 100_000, 100_000-len(s.Window.Holds)
	s.Gates = map[string]app.Gate{"emea": {State: hostile}, hostile: {State: hostile}}
	return s
}

// stuck is a status without what the window would say.
func stuck() app.Status {
	s := empty()
	s.Stuck, s.Headline, s.Window = "the loop has not turned for 2 min", app.Headline{Text: "stuck: the loop has not turned for 2 min", Level: "bad"}, batcher.Status{}
	return s
}

func TestPage_ShowsNamesAsText(t *testing.T) {
	ctx := tab(t, browser(t), server(t, full))
	if title := value[string](t, ctx, `document.title`); title != "contactsync" {
		t.Errorf("a name has changed the title to %q", title)
	}
	if n := value[int](t, ctx, `document.querySelectorAll('img, script:not(:last-of-type), iframe, object').length`); n != 0 {
		t.Errorf("%d elements were made of names", n)
	}
	if text := value[string](t, ctx, `[...document.querySelectorAll('td')].map((e) => e.textContent).join('')`); strings.ContainsAny(text, "\u202e\u2066\x1b\x07\x00") {
		t.Error("a name has kept its control characters")
	}
	if rows := value[int](t, ctx, `document.querySelectorAll('#partitions tbody tr').length`); rows != 200 {
		t.Errorf("%d partitions are shown, not 200", rows)
	}
	if text := value[string](t, ctx, `document.getElementById('holds').textContent`); !strings.Contains(text, "7,000 more are not shown") {
		t.Error("it is not said how many holds are left out")
	}
}

func TestPage_FitsAPhone(t *testing.T) {
	b := browser(t)
	for name, status := range map[string]func() app.Status{"busy": busy(), "full": full, "large": large, "empty": empty, "stuck": stuck} {
		ctx := tab(t, b, server(t, status), chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
		if width := value[int](t, ctx, `document.scrollingElement.scrollWidth`); width > 360 {
			t.Errorf("%s: the page is %d pixels wide on a phone of 360", name, width)
		}
		if indented := value[string](t, ctx, `[...document.querySelectorAll('td')].filter((e) => getComputedStyle(e).paddingLeft !== '0px').map((e) => e.dataset.label).join()`); indented != "" {
			t.Errorf("%s: these stand further right than the others: %s", name, indented)
		}
	}
}

// However much there is, a page has so many elements and no more, second after second, and an
// event is as large as a status of 200 partitions.
func TestPage_StaysBounded(t *testing.T) {
	const mostElements, mostBytes = 7000, 200 << 10
	b := browser(t)
	for name, status := range map[string]func() app.Status{"200 partitions and 100,000 streams": large, "more than is shown": full} {
		url := server(t, status)
		ctx := tab(t, b, url)
		first := value[int](t, ctx, `document.getElementsByTagName('*').length`)
		shown := `document.getElementById('updated').textContent`
		do(t, ctx, wait(fmt.Sprintf(`%s !== %q`, shown, value[string](t, ctx, shown))), wait(`points.length > 3`)) // for the small charts
		later := value[int](t, ctx, `document.getElementsByTagName('*').length`)
		do(t, ctx, wait(`points.length > 5`))
		if last := value[int](t, ctx, `document.getElementsByTagName('*').length`); last != later || last > mostElements {
			t.Errorf("%s: the page has %d elements, then %d, then %d, want at most %d", name, first, later, last, mostElements)
		}
		t.Logf("%s: %d elements, %d bytes an event", name, later, statusBytes(t, url))
		if n := statusBytes(t, url); len(status().Partitions) == 200 && n > mostBytes {
			t.Errorf("%s: an event has %d bytes, want at most %d", name, n, mostBytes)
		}
	}
}

// statusBytes is the size of a status, which an event is.
func statusBytes(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"api/status", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}

// The keyboard reaches each region in a few steps, and stays there while the page is brought up to date.
func TestPage_KeepsTheFocusOfTheKeyboardWhileItFollows(t *testing.T) {
	ctx := tab(t, browser(t), server(t, large))
	focus := func() string {
		return value[string](t, ctx, `document.activeElement.id || document.activeElement.tagName`)
	}
	var met []string
	for range 12 {
		do(t, ctx, chromedp.KeyEvent(kb.Tab))
		met = append(met, focus())
		if met[len(met)-1] == "partitions" {
			break
		}
	}
	if got := met[len(met)-1]; got != "partitions" {
		t.Fatalf("the keyboard meets %v, and no partitions", met)
	}
	do(t, ctx, wait(fmt.Sprintf(`points.length > %d`, value[int](t, ctx, `points.length`)+2)))
	if got := focus(); got != "partitions" {
		t.Errorf("the focus has moved to %s while the page was brought up to date", got)
	}
	do(t, ctx, chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab))
	if got := focus(); got != "SUMMARY" {
		t.Fatalf("after the tables the focus is on %s, not on the settings", got)
	}
	do(t, ctx, chromedp.KeyEvent(kb.Enter), wait(`document.querySelector('details').open`))
}

func TestPage_OfAReplicaThatIsStuck(t *testing.T) {
	ctx := tab(t, browser(t), server(t, stuck))
	if text := value[string](t, ctx, `document.body.innerText`); !strings.Contains(text, "Stuck: the loop has not turned for 2 min.") || strings.Contains(text, "NaN") || strings.Contains(text, "undefined") {
		t.Errorf("the page says:\n%s", text)
	}
}
