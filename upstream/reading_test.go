package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/contactsync/contactsync"
)

// Large answers take turns, however many requests are in flight, and small ones wait for none.
func TestReading_LargeAnswersTakeTurns(t *testing.T) {
	t.Parallel()
	const large = 2 * smallAnswer
	var zipped bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&zipped, gzip.NoCompression)
	_, _ = io.CopyN(zip, strings.NewReader(strings.Repeat("a", large)), large)
	_ = zip.Close()
	plain := func(size int, length int64) *http.Response {
		return &http.Response{Body: io.NopCloser(strings.NewReader(strings.Repeat("a", size))), ContentLength: length}
	}
	for name, answer := range map[string]func() *http.Response{
		"with its length":    func() *http.Response { return plain(large, large) },
		"without its length": func() *http.Response { return plain(large, -1) },
		"compressed": func() *http.Response {
			return &http.Response{Body: io.NopCloser(bytes.NewReader(zipped.Bytes())), ContentLength: -1, Header: http.Header{"Content-Encoding": {"gzip"}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				all := newReading(large)
				first := &share{reading: all, ctx: t.Context()}
				if err := readBody(answer(), large+1<<10, new(bytes.Buffer), first); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				second, third := &share{reading: all, ctx: t.Context()}, &share{reading: all, ctx: ctx}
				read, gaveUp := make(chan error, 1), make(chan error, 1)
				var buf bytes.Buffer
				go func() { read <- readBody(answer(), large+1<<10, &buf, second) }()
				go func() { gaveUp <- readBody(answer(), large+1<<10, new(bytes.Buffer), third) }()
				synctest.Wait()
				if second.held || third.held || buf.Cap() > 4*smallAnswer || name == "with its length" && buf.Cap() > 0 {
					t.Fatal("several large answers are read at a time")
				}
				if err := readBody(plain(smallAnswer, -1), large+1<<10, new(bytes.Buffer), &share{reading: all, ctx: t.Context()}); err != nil {
					t.Errorf("a small answer: %v", err)
				}
				cancel()
				if err := <-gaveUp; !errors.Is(err, errCut) {
					t.Errorf("a request whose time is up: %v", err)
				}
				first.release()
				if err := <-read; err != nil || buf.Len() != large {
					t.Errorf("the second answer: %d bytes, %v", buf.Len(), err)
				}
				second.release()
			})
		})
	}
}

// An element with ids without end takes no more memory than its bytes, and settles nobody.
func TestAnswer_AnElementWithManyIDsSettlesNobody(t *testing.T) {
	t.Parallel()
	b := batchOf("a", "b")
	paths := DefaultConfig().Answer
	body := `{"totalRequested":2,"successful":1,"failed":0,"successfulRecords":[{"` + paths.SuccessIDs[0] + `":["a"` + strings.Repeat(`,"a"`, 1000) + `]}]}`
	got, err := newAnswerReader(paths, testSpeaker).read([]byte(body), b.Rows, nil)
	if err != nil || got.rows[0].Verdict != contactsync.Unresolved {
		t.Errorf("%+v, %v", got, err)
	}
	var r record
	for range 1000 {
		r.addID('"', []byte(`"a"`))
	}
	if len(r.ids) > mostIDs {
		t.Errorf("%d ids are kept", len(r.ids))
	}
}
