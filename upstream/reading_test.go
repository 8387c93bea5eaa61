package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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

// dripping is an answer of which a little comes every tenth of a second, until it is closed.
type dripping struct {
	left, each int
	closed     atomic.Bool
}

func (d *dripping) Read(p []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	switch {
	case d.closed.Load():
		return 0, errors.New("closed")
	case d.left == 0:
		return 0, io.EOF
	}
	n := min(len(p), d.each, d.left)
	d.left -= n
	return n, nil
}

func (d *dripping) Close() error {
	d.closed.Store(true)
	return nil
}

// A host whose large answers drip holds up those of other hosts for a few seconds, however many there are. What
// comes as fast as can be wanted, or hinders nobody, is read to its end.
func TestReading_AHostThatDripsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	const large = 2 * smallAnswer
	for name, tt := range map[string]struct {
		each, others int
		cut          bool
		within       time.Duration
	}{
		"it drips":                      {20 << 10, 1, true, 2 * stretch},
		"it drips, and nobody waits":    {20 << 10, 0, false, 0},
		"it comes steadily":             {leastStretch / 15, 1, false, 10 * time.Second},
		"others wait from the start on": {1 << 10, 3, true, 2 * stretch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				all := newReading(large)
				read := func(host string, body io.ReadCloser) error {
					room := &share{reading: all, ctx: t.Context(), host: host, body: body}
					defer room.release()
					return readBody(&http.Response{Body: body, ContentLength: large}, large+1<<10, new(bytes.Buffer), room)
				}
				slow := make(chan error, 4)
				for range 4 {
					go func() { slow <- read("slow", &dripping{left: large, each: tt.each}) }()
				}
				time.Sleep(stretch / 2)
				start := time.Now()
				var others sync.WaitGroup
				for i := range tt.others {
					others.Go(func() {
						if err := read(fmt.Sprint("other ", i), io.NopCloser(strings.NewReader(strings.Repeat("a", large)))); err != nil {
							t.Error(err)
						}
					})
				}
				others.Wait()
				if took := time.Since(start); took > tt.within {
					t.Errorf("the others took %v", took)
				}
				if err := <-slow; errors.Is(err, errCut) != tt.cut {
					t.Errorf("the first answer of the slow host: %v", err)
				}
				for range 3 {
					if err := <-slow; err != nil {
						t.Errorf("an answer that hinders nobody: %v", err)
					}
				}
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
	if err != nil || got.rows[0].Verdict != contactsync.Contradicted {
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
