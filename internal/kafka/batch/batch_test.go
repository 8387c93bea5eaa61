package batch_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync/internal/kafka/batch"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

const limit = 1 << 20

// read reads all batches, as far as they can be.
func read(data []byte) (all []batch.Record, err error) {
	for len(data) > 0 {
		b, rest, err := batch.Next(data)
		if err != nil || b == nil {
			return all, err
		}
		if err := b.Records(0, limit, func(r batch.Record) { all = append(all, r) }); err != nil {
			return all, err
		}
		data = rest
	}
	return all, nil
}

func TestRecords_AreAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	b := kmsg.RecordBatch{FirstOffset: 1 << 40, FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_009_000}
	records := []kmsg.Record{
		{Key: []byte("k"), Value: []byte("v"), Headers: []kmsg.Header{{Key: "h", Value: []byte("1")}, {Key: "", Value: nil}, {Key: "h", Value: []byte{}}}},
		{OffsetDelta: 1, TimestampDelta64: 5},
		{OffsetDelta: 7, TimestampDelta64: -3000, Key: []byte{}, Value: []byte{}},
	}
	for name, at := range map[string][]int64{"CreateTime": {0, 5, -3000}, "LogAppendTime": {9000, 9000, 9000}} {
		if b.Attributes = 0; name == "LogAppendTime" {
			b.Attributes = 8
		}
		data := kafkatest.Batch(b, records...)
		got, err := read(data)
		clear(data) // what was read must not be of these bytes
		if err != nil || len(got) != 3 {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		for i, r := range got {
			if want := time.UnixMilli(b.FirstTimestamp + at[i]); !r.Time.Equal(want) {
				t.Errorf("%s: record %d is of %v, want %v", name, i, r.Time, want)
			}
			if want := b.FirstOffset + int64(records[i].OffsetDelta); r.Offset != want {
				t.Errorf("offset %d, want %d", r.Offset, want)
			}
		}
		if r := got[0]; string(r.Key) != "k" || string(r.Value) != "v" || len(r.Headers) != 3 || string(r.Headers[0].Value) != "1" ||
			r.Headers[0].Key != "h" || r.Headers[1].Value != nil || r.Headers[2].Value == nil {
			t.Errorf("%+v", r)
		}
		if r := got[1]; r.Key != nil || r.Value != nil || r.Headers != nil {
			t.Errorf("nothing is %+v", r)
		}
		if r := got[2]; r.Key == nil || r.Value == nil {
			t.Errorf("what is empty is %+v", r)
		}
	}
}

func TestRecords_BeginWhereTheyAreWanted(t *testing.T) {
	t.Parallel()
	data := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 10}, kmsg.Record{}, kmsg.Record{OffsetDelta: 1}, kmsg.Record{OffsetDelta: 2})
	b, _, err := batch.Next(data)
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	if err := b.Records(11, limit, func(r batch.Record) { got = append(got, r.Offset) }); err != nil || !slices.Equal(got, []int64{11, 12}) {
		t.Errorf("%v, %v", got, err)
	}
}

// through compresses with a writer.
func through(open func(io.Writer) io.WriteCloser) func([]byte) []byte {
	return func(p []byte) []byte {
		var out bytes.Buffer
		w := open(&out)
		_, _ = w.Write(p) // a buffer takes everything
		_ = w.Close()
		return out.Bytes()
	}
}

// compressors write what Kafka's clients write, by codec and framing.
var compressors = map[string]struct {
	codec    int16
	compress func([]byte) []byte
}{
	"gzip":   {1, through(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })},
	"snappy": {2, func(p []byte) []byte { return snappy.Encode(nil, p) }},
	"snappy in Java's framing": {2, func(p []byte) []byte {
		out := append([]byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}, 0, 0, 0, 1, 0, 0, 0, 1)
		for part := range slices.Chunk(p, 32<<10) {
			block := snappy.Encode(nil, part)
			out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
		}
		return out
	}},
	"lz4": {3, through(func(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) })},
	"zstd": {4, func(p []byte) []byte {
		w, _ := zstd.NewWriter(nil)
		return w.EncodeAll(p, nil)
	}},
	"zstd without the size": {4, through(func(w io.Writer) io.WriteCloser {
		z, _ := zstd.NewWriter(w)
		return z
	})},
}

// compressed is a batch with one value of so many zeros.
func compressed(name string, zeros int) []byte {
	c := compressors[name]
	plain := kafkatest.Batch(kmsg.RecordBatch{}, kmsg.Record{Value: make([]byte, zeros)})
	return kafkatest.Seal(kmsg.RecordBatch{Magic: 2, Attributes: c.codec, NumRecords: 1, Records: c.compress(plain[61:])})
}

func TestRecords_OfEveryCodecWithinTheLimit(t *testing.T) {
	t.Parallel()
	for name := range compressors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, zeros := range []int{0, 1, 70_000, limit - 12} {
				got, err := read(compressed(name, zeros))
				if err != nil || len(got) != 1 || len(got[0].Value) != zeros {
					t.Errorf("%d bytes: %d records, %v", zeros, len(got), err)
				}
			}
			for _, zeros := range []int{limit, 4 * limit} {
				if _, err := read(compressed(name, zeros)); !errors.Is(err, batch.ErrTooLarge) {
					t.Errorf("%d bytes: %v", zeros, err)
				}
			}
			damaged := compressed(name, 70_000)
			clear(damaged[70:80])
			if _, err := read(kafkatest.Seal(kmsg.RecordBatch{Magic: 2, Attributes: compressors[name].codec, NumRecords: 1, Records: damaged[61:]})); err == nil {
				t.Error("damaged bytes are read")
			}
		})
	}
}

// TestRecords_ABombTakesWhatTheLimitAllows is not parallel: it counts what the process
// allocates.
func TestRecords_ABombTakesWhatTheLimitAllows(t *testing.T) {
	bombs := map[string][]byte{}
	for name := range compressors {
		bombs[name] = compressed(name, 32*limit)
	}
	maps.Copy(bombs, kafkatest.Hostile(100))
	for name, data := range bombs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read(data)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > 60<<20 { // all that slices grow through, too
			t.Errorf("%s: %d bytes take %d, %v", name, len(data), used, err)
		}
	}
}

func TestRecords_RefusesWhatLies(t *testing.T) {
	t.Parallel()
	for name, data := range kafkatest.Hostile(100) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := read(data)
			if !errors.Is(err, batch.ErrCorrupt) && !errors.Is(err, batch.ErrTooLarge) && !errors.Is(err, batch.ErrFormat) && !errors.Is(err, batch.ErrHeaders) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestNext_WaitsForTheRestOfABatch(t *testing.T) {
	t.Parallel()
	data := kafkatest.Batch(kmsg.RecordBatch{}, kmsg.Record{Value: []byte("v")})
	for n := range data {
		if b, _, err := batch.Next(data[:n]); b != nil || err != nil {
			t.Fatalf("%d of %d bytes: %v, %v", n, len(data), b, err)
		}
	}
}

func TestRecords_ErrorsNameTheOffset(t *testing.T) {
	t.Parallel()
	_, err := read(kafkatest.Hostile(100)["more headers than are taken"])
	if !errors.Is(err, batch.ErrHeaders) || errors.Is(err, batch.ErrCorrupt) || !strings.Contains(err.Error(), "offset 100: ") || !strings.Contains(err.Error(), fmt.Sprint(batch.MaxHeaders)) {
		t.Errorf("%v", err)
	}
}

func FuzzRecords(f *testing.F) {
	for _, data := range kafkatest.Hostile(100) {
		if len(data) < 1<<16 {
			f.Add(data)
		}
	}
	for name := range compressors {
		f.Add(compressed(name, 100))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// A decompressor has a window of 8 MiB, one for each of two batches, which is kept unless the
		// collector or the race detector empties the pool.
		defer bounded.Within(t, 1<<20+2*(8<<20)+100*len(data))()
		if len(data) > 61 { // most are refused for their checksum: try what is behind it too
			b := kmsg.RecordBatch{Magic: 2, FirstOffset: 5, LastOffsetDelta: 100, Attributes: int16(data[22] & 15), NumRecords: int32(data[60] % 100), Records: data[61:]}
			check(t, kafkatest.Seal(b))
		}
		check(t, data)
	})
}

// check reads what it can, which is in order and within the batch.
func check(t *testing.T, data []byte) {
	b, _, err := batch.Next(data)
	if err != nil || b == nil {
		return
	}
	last, bytes := b.Base-1, 0
	_ = b.Records(0, 1<<16, func(r batch.Record) {
		if r.Offset <= last || r.Offset > b.Last {
			t.Fatalf("offset %d after %d in %d to %d", r.Offset, last, b.Base, b.Last)
		}
		last = r.Offset
		if bytes += len(r.Key) + len(r.Value); bytes > max(1<<16, len(data)) || len(r.Headers) > batch.MaxHeaders {
			t.Fatalf("%d bytes, %d headers", bytes, len(r.Headers))
		}
	})
}

// What is no batch at all is damaged, and not of a format that somebody could have set.
func TestNext_TellsDamageFromAnotherFormat(t *testing.T) {
	t.Parallel()
	old := make([]byte, 100)
	old[7], old[11], old[16] = 5, 88, 1
	later := slices.Clone(old)
	later[16] = 3
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"text":          {[]byte("this is no batch of records, and longer than a header of one, whatever it is"), batch.ErrCorrupt},
		"format 1":      {old, batch.ErrFormat},
		"format 3":      {later, batch.ErrFormat},
		"all bits set":  {slices.Repeat([]byte{0xff}, 100), batch.ErrCorrupt},
		"nothing there": {make([]byte, 100), batch.ErrFormat},
	} {
		if _, _, err := batch.Next(tt.data); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
