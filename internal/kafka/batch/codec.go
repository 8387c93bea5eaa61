package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// codecs are those of Kafka, by number.
var codecs = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// Compressed reports whether reading the records takes memory besides the batch's own.
func (b *Batch) Compressed() bool { return b.codec != 0 }

// decompress returns what a codec has made smaller, of at most so many bytes.
func decompress(codec int8, data []byte, most int) (out []byte, err error) {
	switch codec {
	case 0:
		return data, nil
	case 1:
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(data)); err == nil {
			out, err = readAll(r, most)
		}
	case 2:
		out, err = decompressSnappy(data, most)
	case 3:
		out, err = readAll(lz4.NewReader(bytes.NewReader(data)), most)
	case 4:
		out, err = decompressZstd(data, most)
	default:
		return nil, fmt.Errorf("%w: codec %d", ErrFormat, codec)
	}
	switch {
	case errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("%w: %d bytes of %s become more than %d", ErrTooLarge, len(data), codecs[codec], most)
	case err != nil:
		return nil, corrupt("%s: %v", codecs[codec], err)
	}
	return out, nil
}

func readAll(r io.Reader, most int) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if len(out) > most {
		return nil, ErrTooLarge
	}
	return out, err
}

// xerial is what the framing of snappy begins with that Java clients write: a name, and
// two numbers of versions.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeader = 16

// decompressSnappy reads one block, or the blocks of the framing, each behind its length.
func decompressSnappy(data []byte, most int) ([]byte, error) {
	if !bytes.HasPrefix(data, xerial) {
		return appendSnappy(nil, data, most)
	}
	if len(data) < xerialHeader {
		return nil, io.ErrUnexpectedEOF
	}
	var out []byte
	for data = data[xerialHeader:]; len(data) > 0; {
		if len(data) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(data)
		if data = data[4:]; uint64(n) > uint64(len(data)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = appendSnappy(out, data[:n], most); err != nil {
			return nil, err
		}
		data = data[n:]
	}
	return out, nil
}

func appendSnappy(out, block []byte, most int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	if n > most-len(out) {
		return nil, ErrTooLarge
	}
	decoded, err := snappy.Decode(nil, block)
	if err != nil || out == nil {
		return decoded, err
	}
	return append(out, decoded...), nil
}

// zstdWindow is how much a batch may refer back to, as the format recommends, and as
// clients that compress while they write announce it, however small the batch is.
const zstdWindow = 8 << 20

// zstdDecoders are kept, because each has tables of its own. They are made for the limit
// that they are used with, which a process has one or two of.
var zstdDecoders sync.Map // of *sync.Pool by limit

func decompressZstd(data []byte, most int) ([]byte, error) {
	limited, _ := zstdDecoders.LoadOrStore(most, &sync.Pool{})
	pool := limited.(*sync.Pool)
	d, ok := pool.Get().(*zstd.Decoder)
	if !ok {
		var err error
		d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(most, zstdWindow))), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
	}
	defer pool.Put(d)
	out, err := d.DecodeAll(data, nil)
	if len(out) > most || errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, ErrTooLarge
	}
	return out, err
}
