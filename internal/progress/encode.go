package progress

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"strings"
	"time"
)

// MaxText is what Kafka keeps with a commit unless its brokers are set otherwise
// (offset.metadata.max.bytes).
const MaxText = 4096

// The text is plain ASCII, because brokers and tools take it for text. It is the
// prefix, and in base64: a checksum, flags, what is committed, and the runs.
const (
	prefix  = "contactsync:"
	version = "1:"

	flagReleased = 1 << 0
	flagDeflated = 1 << 1
	flagLost     = 1 << 2
	flagKept     = 1 << 3
	flagFeed     = 1 << 4
	flagWaits    = 1 << 5 // of the feed
	flagLeader   = 1 << 6 // it is another one than Epoch

	// maxRecord is what a topic takes unless its max.message.bytes is set lower, less what
	// Kafka adds.
	maxRecord = 1 << 20 * 9 / 10

	// worthDeflating is from how many bytes on runs are deflated: in steady state there
	// are few of them, and a compressor is not free.
	worthDeflating = 256

	// maxAtWork bounds what is believed of a commit.
	maxAtWork = time.Hour
)

var (
	ascii    = base64.RawURLEncoding
	checksum = crc32.MakeTable(crc32.Castagnoli)
)

// Text writes a into at most so many bytes. It reports false where not all of it fits:
// what is left out counts as open.
func (a Ahead) Text(most int) (text string, whole bool) {
	whole = !a.bound(TextRuns) && !a.partial
	body, fits := a.fit(most*3/4-len(prefix)-len(version), true) // base64 makes four bytes of three
	if body == nil {
		return "", false
	}
	return prefix + version + ascii.EncodeToString(body), whole && fits
}

// Bytes writes all of a, for a record of its own, where it does not fit a text. It reports
// false where it does not fit such a record either.
func (a Ahead) Bytes() (record []byte, whole bool) {
	record, fits := a.fit(maxRecord, false)
	return record, fits && !a.partial
}

// fit writes a into at most so many bytes. It returns nil where nothing fits.
func (a *Ahead) fit(most int, text bool) (body []byte, whole bool) {
	whole = true
	for {
		if body = a.encode(text); len(body) <= most {
			return body, whole
		}
		whole = false
		runs := len(a.open) + len(a.setAside)
		if runs == 0 {
			return nil, false
		}
		a.bound(min(runs-1, runs*max(most, 0)/len(body)*9/10))
	}
}

// encode writes a checksum and what it is of. Only a text names a record that holds more,
// and says how the feed goes on.
func (a *Ahead) encode(text bool) []byte {
	var flags byte
	if a.Released {
		flags |= flagReleased
	}
	if a.Lost {
		flags |= flagLost
	}
	kept := a.Kept
	if kept != nil && text {
		flags |= flagKept
	}
	feed := a.Feed
	if feed != nil && text {
		flags |= flagFeed
		if feed.Waits {
			flags |= flagWaits
		}
	}
	if a.Leader != a.Epoch && text {
		flags |= flagLeader
	}
	runs := a.runs()
	if len(runs) > worthDeflating {
		flags |= flagDeflated
		runs = deflate(runs)
	}
	body := []byte{flags}
	body = binary.BigEndian.AppendUint64(body, a.Log.cluster)
	body = append(body, a.Log.topic[:]...)
	body = binary.AppendUvarint(body, uint64(a.Epoch+1))
	body = binary.AppendUvarint(body, uint64(a.Offset))
	body = binary.AppendUvarint(body, uint64(a.End-a.Offset))
	body = binary.AppendUvarint(body, uint64(min(a.AtWork, maxAtWork).Milliseconds()))
	if flags&flagKept != 0 {
		body = binary.AppendUvarint(body, uint64(kept.Partition))
		body = binary.AppendUvarint(body, uint64(kept.Offset))
		body = append(body, kept.Sum[:]...)
	}
	if flags&flagFeed != 0 {
		body = binary.AppendUvarint(body, uint64(feed.Offset))
	}
	if flags&flagLeader != 0 {
		body = binary.AppendUvarint(body, uint64(a.Leader+1))
	}
	body = append(body, runs...)
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, checksum))
	return append(sum, body...)
}

// runs are the number of open runs, then the length of each gap and run, and the same
// of those that were set aside.
func (a *Ahead) runs() []byte {
	var out []byte
	for _, list := range []spans{a.open, a.setAside} {
		out = binary.AppendUvarint(out, uint64(len(list)))
		at := a.Offset
		for _, s := range list {
			out = binary.AppendUvarint(out, uint64(s.from-at))
			out = binary.AppendUvarint(out, uint64(s.to-s.from))
			at = s.to
		}
	}
	return out
}

// deflate returns the smaller of two: streams that take turns leave repeated runs, others
// leave short ones without any pattern, which only codes of their own make smaller.
func deflate(data []byte) (smallest []byte) {
	for _, level := range []int{flate.DefaultCompression, flate.HuffmanOnly} {
		var out bytes.Buffer
		w, _ := flate.NewWriter(&out, level) // it fails only for an unknown level
		_, _ = w.Write(data)                 // a buffer takes everything
		_ = w.Close()
		if smallest == nil || out.Len() < len(smallest) {
			smallest = out.Bytes()
		}
	}
	return smallest
}

// Ignored is why what came with a committed offset is not believed. Nothing is lost by
// that: what is not known to have ended is done again.
type Ignored string

// The reasons, as metrics name them.
const (
	Foreign      Ignored = "foreign"       // another program wrote it
	Version      Ignored = "version"       // another release wrote it, in a form that this one does not know
	Damaged      Ignored = "damaged"       // it is not what was written
	OtherOffset  Ignored = "other_offset"  // the offset was set by something else since
	OtherLog     Ignored = "other_log"     // the topic was deleted and created again
	OtherCluster Ignored = "other_cluster" // the offset was copied from there
	UnknownLog   Ignored = "unknown_log"   // the brokers had no ids for topics, then or now
	Replaced     Ignored = "replaced"      // the record that holds the rest is gone, or cannot be read in time
)

// Error says what is done about it.
func (i Ignored) Error() string {
	return "what ended beyond the committed offset is not known (" + string(i) + "): it is sent again"
}

// Parse reads what Text has written. It must be what came with the committed offset of
// this very log: where that cannot be said, it returns an Ignored. Without text it
// returns nil.
func Parse(text string, committed int64, log Log) (*Ahead, error) {
	if text == "" {
		return nil, nil
	}
	rest, ours := strings.CutPrefix(text, prefix)
	if !ours {
		return nil, Foreign
	}
	rest, known := strings.CutPrefix(rest, version)
	if !known {
		return nil, Version
	}
	data, err := ascii.DecodeString(rest)
	if err != nil || len(text) > MaxText*4 {
		return nil, Damaged
	}
	a, ok := decode(data)
	switch {
	case !ok:
		return nil, Damaged
	case a.Log.cluster != log.cluster:
		return nil, OtherCluster
	case a.Log.topic != log.topic && (a.Log.topic == [16]byte{} || log.topic == [16]byte{}):
		return nil, UnknownLog
	case a.Log != log:
		return nil, OtherLog
	case a.Offset != committed:
		return nil, OtherOffset
	}
	return a, nil
}

// Extend adds what a record holds that was kept for the partition before: Kept must name
// it. Nothing changes where it returns an Ignored.
func (a *Ahead) Extend(record []byte) error {
	whole, ok := decode(record)
	switch {
	case a.Kept == nil || a.Kept.Sum != SumOf(record):
		return Replaced
	case !ok:
		return Damaged
	case whole.Log != a.Log, whole.Offset > a.Offset:
		return OtherLog
	case whole.End <= a.End, whole.Epoch < 0 && a.Epoch >= 0:
		return nil
	}
	// The text is the younger of the two, as far as it reaches; what had ended stays so.
	whole.open.clip(a.End, whole.End)
	whole.setAside.clip(a.End, whole.End)
	a.open, a.setAside = a.open.with(whole.open), a.setAside.with(whole.setAside)
	// What a later leader has written where the record reaches to is not what it tells of.
	a.End, a.Epoch = whole.End, min(a.Epoch, whole.Epoch)
	return nil
}

// decode reads what encode has written, and believes none of it.
func decode(data []byte) (*Ahead, bool) {
	if len(data) < 4 || binary.BigEndian.Uint32(data) != crc32.Checksum(data[4:], checksum) {
		return nil, false
	}
	r := reader{data: data[4:]}
	flags := r.byte()
	a := &Ahead{Released: flags&flagReleased != 0, Lost: flags&flagLost != 0}
	if b := r.take(8); b != nil {
		a.Log.cluster = binary.BigEndian.Uint64(b)
	}
	copy(a.Log.topic[:], r.take(len(a.Log.topic)))
	a.Epoch = int32(r.int(math.MaxInt32) - 1)
	a.Offset = r.int(math.MaxInt64)
	a.End = a.Offset + r.int(math.MaxInt64-a.Offset)
	a.AtWork = time.Duration(r.int(maxAtWork.Milliseconds())) * time.Millisecond
	if flags&flagKept != 0 {
		a.Kept = &Kept{Partition: int32(r.int(math.MaxInt32)), Offset: r.int(math.MaxInt64)}
		copy(a.Kept.Sum[:], r.take(len(a.Kept.Sum)))
	}
	if flags&flagFeed != 0 {
		a.Feed = &Feed{Waits: flags&flagWaits != 0, Offset: r.int(math.MaxInt64)}
	}
	if a.Leader = a.Epoch; flags&flagLeader != 0 {
		a.Leader = int32(r.int(math.MaxInt32) - 1)
	}
	if flags&flagDeflated != 0 {
		const most = RecordRuns * 2 * binary.MaxVarintLen64
		inflated, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(r.data)), most))
		if err != nil {
			return nil, false
		}
		r.data = inflated
	}
	for _, list := range []*spans{&a.open, &a.setAside} {
		at := a.Offset
		for range r.int(2 * RecordRuns) {
			from := at + r.int(a.End-at)
			at = from + r.int(a.End-from)
			if r.failed {
				break
			}
			list.add(from, at)
		}
	}
	return a, !r.failed && len(r.data) == 0
}

// reader takes values from the front of data. After a failure it returns zeros.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || len(r.data) < n {
		r.failed = true
		return nil
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// int reads a number of at most that size.
func (r *reader) int(most int64) int64 {
	v, n := binary.Uvarint(r.data)
	if r.failed || n <= 0 || v > uint64(max(most, 0)) {
		r.failed = true
		return 0
	}
	r.data = r.data[n:]
	return int64(v)
}
