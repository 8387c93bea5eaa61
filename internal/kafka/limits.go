package kafka

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/segmentio/kafka-go/compress"
)

// ErrBatchTooLarge says that a record batch is larger, once decompressed, than
// LimitDecompression allows. Errors that match it are *BatchTooLargeError.
var ErrBatchTooLarge = errors.New("record batch is too large")

// BatchTooLargeError is the error of a batch that grew past the limit. It
// matches ErrBatchTooLarge.
type BatchTooLargeError struct {
	Codec string // gzip, snappy, lz4 or zstd
	Max   int64  // the limit in bytes
}

// Error says what was found and what to do.
func (e *BatchTooLargeError) Error() string {
	return fmt.Sprintf("%v: it grows past %d bytes with %s: raise the limit or skip the batch's offsets", ErrBatchTooLarge, e.Max, e.Codec)
}

// Is makes the error match ErrBatchTooLarge.
func (e *BatchTooLargeError) Is(target error) bool { return target == ErrBatchTooLarge }

// LimitDecompression bounds what kafka-go makes of one compressed record batch
// to max bytes. Without it a batch of a megabyte may take all memory, on every
// replica in turn.
//
// It changes kafka-go's table of codecs, which the whole process shares and which
// no lock guards, at the first call only: call it before the first connection.
// Called again it replaces the limit. Writing is not changed.
//
// How it is seen: protocol.RecordSet.ReadFrom returns a *BatchTooLargeError as it
// is, and so does kafkago.Transport.RoundTrip for a fetch, which then closes the
// connection; errors.Is finds it, and kafkago.Client.Fetch wraps it with %w. Where batches
// before it in the same answer could be read, those are returned without an
// error, and the next fetch, from the large one's offset, returns the error. In
// the message format that Kafka used before 0.11 the bound holds as well, but
// the error may read as a checksum mismatch.
//
// The bound is on the output. On top of it a codec holds its own window, of the
// order of what it has put out so far, and snappy one whole block.
func LimitDecompression(max int64) {
	decompressionLimit.Store(max)
	limitOnce.Do(func() {
		for i, codec := range compress.Codecs {
			if codec != nil {
				compress.Codecs[i] = limitedCodec{codec}
			}
		}
	})
}

// The limit belongs to the process, as kafka-go's table does.
var (
	limitOnce          sync.Once
	decompressionLimit atomic.Int64
)

// limitedCodec is a codec whose readers end at the limit.
type limitedCodec struct{ compress.Codec }

// NewReader returns a reader that fails instead of returning more than max bytes.
func (c limitedCodec) NewReader(r io.Reader) io.ReadCloser {
	max := decompressionLimit.Load()
	return &limitedReader{ReadCloser: c.Codec.NewReader(r), left: max, max: max, codec: c}
}

// limitedReader hides the codec's WriteTo, which would go round the count.
type limitedReader struct {
	io.ReadCloser
	max   int64
	left  int64 // negative once the limit is passed
	codec limitedCodec
}

// Read reads on until one byte more than the limit has come. The error stays: the
// reader above may swallow one that comes together with the bytes it asked for.
func (r *limitedReader) Read(p []byte) (int, error) {
	if r.left < 0 {
		return 0, &BatchTooLargeError{Codec: r.codec.Name(), Max: r.max}
	}
	if int64(len(p)) > r.left+1 {
		p = p[:r.left+1]
	}
	n, err := r.ReadCloser.Read(p)
	r.left -= int64(n)
	if r.left < 0 {
		return n - 1, &BatchTooLargeError{Codec: r.codec.Name(), Max: r.max}
	}
	return n, err
}
