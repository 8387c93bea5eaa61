package upstream

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/contactsync/contactsync"
)

// Whatever hash a detail has, its words are kept, without our secrets.
func TestSend_KeepsTheTextBehindEachHash(t *testing.T) {
	t.Parallel()
	var status int
	var body string
	var token string
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("auth")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.ReplaceAll(body, "TOKEN", token))
	})
	c := newTestClient(t, host, nil)
	for i, test := range []struct {
		status int
		body   string
		want   string
	}{
		{401, `{"errors":[{"msg":"Zebulon may not use TOKEN"}]}`, "Zebulon may not use ***"},
		{403, "<html>Zebulon " + testSecret + "</html>", "<html>Zebulon ***</html>"},
		{404, `{"status":"404","message":"Zebulon is gone"}`, "Zebulon is gone (code 404)"},
		{200, "no JSON of Zebulon", "no JSON of Zebulon"},
		{200, `{"failedRecords":[{"id":"a","reason":"Zebulon is taken"},{"id":"b","reason":"no"}]}`, "Zebulon is taken"},
	} {
		status, body = test.status, test.body
		r := c.Send(t.Context(), batchOf("a", "b"))
		list := c.Kept()
		if len(list) != i+1 {
			t.Fatalf("%d %s: %d texts are kept, want %d", test.status, test.body, len(list), i+1)
		}
		got := list[0]
		if got.Text.Reveal() != test.want || got.Bytes != len(test.want) || !strings.HasSuffix(saidOf(r).Reason, "text="+got.Hash) {
			t.Errorf("%d %s: kept is %q of %d bytes as %s; the detail is %s", test.status, test.body, got.Text.Reveal(), got.Bytes, got.Hash, saidOf(r).Reason)
		}
		if got.Account != testAccount || got.Stream != testStream || got.Status != test.status || got.Kind != r.Kind.String() || time.Since(got.Last) > time.Minute || got.Times != 1 {
			t.Errorf("%d %s: %+v", test.status, test.body, got)
		}
		if written := fmt.Sprintf("%+v %#v", list, got); strings.Contains(written, "Zebulon") {
			t.Errorf("a kept text prints itself: %s", written)
		}
	}
	before := len(c.Kept())
	body, status = `{"totalRequested":2,"successful":2,"failed":0}`, http.StatusOK
	c.Send(t.Context(), batchOf("a", "b"))
	if n := len(c.Kept()); n != before {
		t.Errorf("an answer that accepts all rows left %d texts", n-before)
	}
}

func keptOf(stream, text string, ofRow bool) Kept {
	return Kept{Hash: testSpeaker.hash(text), Account: testAccount, Stream: stream, Last: time.Now(), Text: contactsync.NewText(text), ofRow: ofRow}
}

func (k *kept) texts() (all []string) {
	for _, t := range k.list {
		all = append(all, t.Text.Reveal())
	}
	return all
}

func TestKept_IsBounded(t *testing.T) {
	t.Parallel()
	var k kept
	for i := range 10_000 {
		k.add(keptOf(fmt.Sprint("st-", i%7), fmt.Sprintf("%d %s", i, strings.Repeat("é王", 2000)), false))
	}
	if len(k.list) != mostKept || cap(k.list) > 4*mostKept {
		t.Errorf("%d texts, with room for %d", len(k.list), cap(k.list))
	}
	for _, text := range k.list {
		if n := len(text.Text.Reveal()); n > mostKeptBytes || n < mostKeptBytes-4 || !utf8.ValidString(text.Text.Reveal()) {
			t.Errorf("%d bytes are kept of %d, of whole characters: %t", n, text.Bytes, utf8.ValidString(text.Text.Reveal()))
		}
	}
	for _, text := range []string{"", "\xff", strings.Repeat("\x80", 2000), strings.Repeat("a", mostKeptBytes-1) + "é"} {
		if got := beginning(text, mostKeptBytes); len(got) > mostKeptBytes || !strings.HasPrefix(text, got) {
			t.Errorf("%.20q becomes %.20q", text, got)
		}
	}
}

// One stream whose answers differ each time takes no text from the others.
func TestKept_MakesRoomWhereMostAre(t *testing.T) {
	t.Parallel()
	var k kept
	for i := range 5 {
		k.add(keptOf(fmt.Sprint("quiet-", i), fmt.Sprint("of quiet-", i), false))
	}
	for i := range 10_000 {
		k.add(keptOf("loud", fmt.Sprint("loud ", i), false))
	}
	got := k.texts()
	for i := range 5 {
		if want := fmt.Sprint("of quiet-", i); !slices.Contains(got, want) {
			t.Errorf("%q had to go", want)
		}
	}
	for i := 10_000 - mostKept + 5; i < 10_000; i++ {
		if want := fmt.Sprint("loud ", i); !slices.Contains(got, want) {
			t.Errorf("%q had to go before an older one", want)
		}
	}
}

// Where no stream has more than others, the oldest goes, and before it what a dead letter has.
func TestKept_MakesRoomInItsOrder(t *testing.T) {
	t.Parallel()
	var k kept
	add := func(i int, ofRow bool) { k.add(keptOf(fmt.Sprint("st-", i), fmt.Sprint(i), ofRow)) }
	for i := range mostKept {
		add(i, i == 20 || i == 40)
	}
	add(0, false) // again: it is the newest now
	for i, gone := range []string{"20", "40", "1", "2"} {
		add(mostKept+i, false)
		if got := k.texts(); slices.Contains(got, gone) || len(got) != mostKept {
			t.Errorf("%s is still kept: %q", gone, got)
		}
	}
	if got := k.texts(); !slices.Contains(got, "0") || !slices.Contains(got, "3") {
		t.Errorf("the wrong ones went: %q", got)
	}
	i := slices.IndexFunc(k.list, func(t Kept) bool { return t.Text.Reveal() == "0" })
	if again := k.list[i]; again.Times != 2 || !again.First.Before(again.Last) {
		t.Errorf("of a text that came twice: %+v", again)
	}
}
