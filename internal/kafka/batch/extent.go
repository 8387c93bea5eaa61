package batch

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
)

// Extent is what a batch covers that cannot be read.
type Extent struct {
	Last   int64 // its last offset; -1 where that is not known
	Bytes  int64 // as Kafka sent it
	Epoch  int32 // of the leader that wrote it, as its header says; -1 where that is not known
	SHA256 [sha256.Size]byte
}

// Examine finds out what the batch covers that an answer begins with, in little memory
// however large the batch is. The answer is to a fetch from offset, of a partition that
// ends before end.
//
// The header of a broken batch may lie, and to believe it would pass over good events. It
// is believed where the checksum is right, or nothing follows. Otherwise the batch ends
// where the next one begins, as far as there is one in the answer.
func Examine(records io.Reader, offset, end int64) (Extent, error) {
	in := bufio.NewReaderSize(records, 64<<10)
	head, err := in.Peek(headerBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return Extent{}, err
	}
	if len(head) <= magicAt {
		return Extent{}, corrupt("%d bytes", len(head))
	}
	base, length := int64(binary.BigEndian.Uint64(head)), int64(int32(binary.BigEndian.Uint32(head[8:])))
	old := head[magicAt] < 2 // then the offset is that of the last record
	whole := len(head) == headerBytes && head[magicAt] == 2 && length >= headerBytes-lengthEnd
	last, sum := int64(-1), uint32(0)
	switch {
	case old && length > 0:
		last = base
	case whole:
		last, sum = base+int64(int32(binary.BigEndian.Uint32(head[23:]))), binary.BigEndian.Uint32(head[17:])
	default:
		length = 1 << 62 // it lies: all of the answer is taken for the batch
	}
	digest, crc := sha256.New(), &tail{from: 21, hash: crc32.New(checksum)}
	x := Extent{Last: -1, Epoch: -1}
	if !old {
		x.Epoch = int32(binary.BigEndian.Uint32(head[12:]))
	}
	x.Bytes, err = io.Copy(io.MultiWriter(digest, crc), io.LimitReader(in, lengthEnd+length))
	if err != nil {
		return Extent{}, err
	}
	digest.Sum(x.SHA256[:0])
	sound := old || whole && x.Bytes == lengthEnd+length && crc.hash.Sum32() == sum
	next := int64(-1)
	if head, _ := in.Peek(magicAt + 1); len(head) > magicAt && head[magicAt] == 2 {
		next = int64(binary.BigEndian.Uint64(head))
	}
	switch {
	case next > offset && (!sound || last >= next):
		last = next - 1
	case !sound && last != end-1:
		last = -1
	}
	if last >= offset && last < end {
		x.Last = last
	}
	return x, nil
}

// tail hashes what is written to it but for the first bytes.
type tail struct {
	from int
	hash hash.Hash32
}

func (t *tail) Write(p []byte) (int, error) {
	skip := min(t.from, len(p))
	t.from -= skip
	_, _ = t.hash.Write(p[skip:]) // a hash takes everything
	return len(p), nil
}
