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
	// maxErrorBody bounds what is read of an answer that is only quoted.
	maxErrorBody = 64 << 10
	// An answer repeats the same member names for each row and compresses well, but
	// not like a bomb, which reaches a thousand to one.
	maxRatio = 200
	// minRatioBytes is the decompressed size from which the ratio is checked.
	minRatioBytes = 1 << 20
)

// Why a body that was received is not read.
var (
	errTooLong  = errors.New("answer is longer than max_answer_bytes: raise it or lower max_rows")
	errBomb     = errors.New("answer is compressed far more than answers are")
	errEncoding = errors.New("answer has a content encoding that was not requested")
)

// errCut reports that the connection failed before the body was complete.
var errCut = errors.New("answer cut off")

// readBody reads the body into buf, at most limit bytes both compressed and
// decompressed, within a share of the room for all answers. If the connection fails, the error
// is errCut.
func readBody(resp *http.Response, limit int64, buf *bytes.Buffer, room *share) error {
	wire := &boundedReader{src: resp.Body, limit: limit}
	var err error
	switch encoding := strings.ToLower(strings.Join(resp.Header.Values("Content-Encoding"), ",")); encoding {
	case "", "identity":
		if n := resp.ContentLength; n > 0 && n <= limit {
			if err := room.take(n); err != nil {
				return err
			}
			buf.Grow(int(n) + bytes.MinRead)
		}
		wire.room = room
		_, err = buf.ReadFrom(wire)
	case "gzip", "x-gzip":
		err = gunzip(wire, limit, buf, room)
	default:
		return errEncoding
	}
	if wire.failed != nil {
		return fmt.Errorf("%w: %w", errCut, wire.failed)
	}
	return err
}

func gunzip(wire *boundedReader, limit int64, buf *bytes.Buffer, room *share) error {
	zip, err := gzip.NewReader(wire)
	if err != nil {
		return fmt.Errorf("answer is not valid gzip: %w", err)
	}
	_, err = buf.ReadFrom(&boundedReader{src: zip, limit: limit, compressed: wire, room: room})
	return err
}

// boundedReader reads at most limit bytes and remembers whether the source failed.
type boundedReader struct {
	src        io.Reader
	limit      int64
	compressed *boundedReader // what a decompressor reads from; else nil
	room       *share         // of what is kept; nil for what is decompressed first
	n          int64
	failed     error
}

// Read fails with errTooLong or errBomb once a bound is exceeded.
func (r *boundedReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	r.n += int64(n)
	switch {
	case r.n > r.limit:
		return 0, errTooLong
	case r.compressed != nil && r.n > minRatioBytes && r.n > maxRatio*r.compressed.n:
		return 0, errBomb
	case err != nil && !errors.Is(err, io.EOF):
		r.failed = err
	case r.room != nil:
		r.room.read.Store(r.n)
		if full := r.room.take(r.n); full != nil {
			return 0, full
		}
	}
	return n, err
}
