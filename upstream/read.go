package upstream

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	// errorLimit bounds what is read of an answer that only says no.
	errorLimit = 64 << 10
	// An answer repeats the same field names for each row and compresses well,
	// but not like a bomb, which reaches a thousand to one.
	ratioLimit = 200
	ratioFrom  = 1 << 20 // decompressed bytes from which the ratio counts
)

// What makes an answer unreadable although all of it could be had.
var (
	errTooLong  = errors.New("answer is longer than max_answer_bytes: raise it or lower max_rows")
	errBomb     = errors.New("answer decompresses to far more than answers do")
	errEncoding = errors.New("answer has a content encoding that was not asked for")
)

// errCut says that the connection failed before the answer was complete.
var errCut = errors.New("answer cut off")

// readAnswer reads the answer's body into buf, at most limit bytes both as they
// come and decompressed. A connection that failed is errCut.
func readAnswer(resp *http.Response, limit int64, buf *bytes.Buffer) error {
	wire := &meter{from: resp.Body, limit: limit}
	var err error
	switch encoding := strings.ToLower(strings.Join(resp.Header.Values("Content-Encoding"), ",")); encoding {
	case "", "identity":
		if n := resp.ContentLength; n > 0 && n <= limit {
			buf.Grow(int(n) + bytes.MinRead)
		}
		_, err = buf.ReadFrom(wire)
	case "gzip", "x-gzip":
		err = gunzip(wire, limit, buf)
	default:
		return errEncoding
	}
	if wire.failed != nil {
		return fmt.Errorf("%w: %w", errCut, wire.failed)
	}
	return err
}

func gunzip(wire *meter, limit int64, buf *bytes.Buffer) error {
	zip, err := gzip.NewReader(wire)
	if err != nil {
		return fmt.Errorf("answer is not the gzip it says it is: %w", err)
	}
	_, err = buf.ReadFrom(&meter{from: zip, limit: limit, source: wire})
	return err
}

// meter reads at most limit bytes and remembers whether reading failed.
type meter struct {
	from   io.Reader
	limit  int64
	source *meter // of a decompressor: what it is fed from
	got    int64
	failed error
}

// Read reads on, and fails with errTooLong or errBomb rather than yield more
// than it should.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.got += int64(n)
	switch {
	case m.got > m.limit:
		return 0, errTooLong
	case m.source != nil && m.got > ratioFrom && m.got > ratioLimit*m.source.got:
		return 0, errBomb
	case err != nil && !errors.Is(err, io.EOF):
		m.failed = err
	}
	return n, err
}
