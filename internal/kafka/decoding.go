package kafka

import (
	"context"
	"errors"

	"golang.org/x/sync/semaphore"

	"github.com/contactsync/contactsync/internal/kafka/batch"
)

// decoding bounds the memory that all fetches of a client take for answers that are larger than was asked for,
// and to decompress batches.
type decoding struct {
	most    int // bytes of one batch
	room    *semaphore.Weighted
	answers *semaphore.Weighted
}

// smallBatch is what a batch takes of the room until it turns out to be larger: as much
// as producers put into one. Then it is decompressed once more, with all of the room.
const smallBatch = 4 << 20

// decodingRoom is the least room, for small batches of several partitions at once.
const decodingRoom = 64 << 20

func newDecoding(most int) *decoding {
	return &decoding{most, semaphore.NewWeighted(int64(max(most, decodingRoom))), semaphore.NewWeighted(int64(max(most+fetchOverhead, answersRoom)))}
}

// records is Batch.Records within the room.
func (d *decoding) records(ctx context.Context, b *batch.Batch, from int64, deliver func(batch.Record)) error {
	if !b.Compressed() {
		return b.Records(from, d.most, deliver)
	}
	read := func(most int, room int64) error {
		if err := d.room.Acquire(ctx, room); err != nil {
			return err
		}
		defer d.room.Release(room)
		return b.Records(from, most, deliver)
	}
	err := read(min(smallBatch, d.most), smallBatch)
	if errors.Is(err, batch.ErrTooLarge) && d.most > smallBatch {
		err = read(d.most, int64(max(d.most, decodingRoom)))
	}
	return err
}
