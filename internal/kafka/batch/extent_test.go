package batch_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync/internal/kafka/batch"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
)

func TestExamine_PassesOverNothingElse(t *testing.T) {
	t.Parallel()
	var five []kmsg.Record
	for i := range int32(5) {
		five = append(five, kmsg.Record{OffsetDelta: i, Value: []byte("v")})
	}
	good := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 100}, five...) // offsets 100 to 104
	next := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 105}, kmsg.Record{Value: []byte("v")})
	change := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	lies := kafkatest.Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: 100, LastOffsetDelta: 500, Records: []byte("v")})
	old := change(16, 1)
	copy(old, []byte{0, 0, 0, 0, 0, 0, 0, 104}) // of its last record
	for _, test := range []struct {
		name   string
		first  []byte
		behind []byte
		end    int64
		want   int64
	}{
		{"sound", good, nil, 200, 104},
		{"sound, and another one follows", good, next, 106, 104},
		{"a wrong checksum", change(len(good)-1, 'w'), next, 106, 104},
		{"a wrong checksum at the end of the log", change(len(good)-1, 'w'), nil, 105, 104},
		{"a wrong checksum, and what follows is not known", change(len(good)-1, 'w'), nil, 106, -1},
		{"a last offset that is too far", change(25, 7), next, 3000, 104},
		{"a last offset that is too far, and what follows is not known", change(25, 7), nil, 3000, -1},
		{"a last offset that is too early", change(26, 1), next, 106, 104},
		{"a last offset that lies with a checksum", lies, next, 1000, 104},
		{"a last offset behind the end of the log", lies, nil, 600, -1},
		{"a length that is too large", change(8, 0x7f), next, 106, -1},
		{"a length that is too small", change(8, 0, 0, 0, 3), next, 106, -1},
		{"an old format", old, next, 106, 104},
		{"an answer that is cut off", good[:30], nil, 106, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			x, err := batch.Examine(bytes.NewReader(slices.Concat(test.first, test.behind)), 102, test.end)
			if err != nil || x.Last != test.want {
				t.Fatalf("last offset %d, %v: want %d", x.Last, err, test.want)
			}
			if test.want >= 0 && (x.Bytes != int64(len(test.first)) || x.SHA256 != sha256.Sum256(test.first)) {
				t.Errorf("%d bytes with hash %x, want those of the %d of the batch", x.Bytes, x.SHA256, len(test.first))
			}
		})
	}
	if _, err := batch.Examine(bytes.NewReader(good[:10]), 100, 200); !errors.Is(err, batch.ErrCorrupt) {
		t.Errorf("nothing to examine: %v", err)
	}
}
