package deadletter_test

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
)

func at(topic string, partition int32, offsets ...int64) []contactsync.Position {
	var positions []contactsync.Position
	for _, o := range offsets {
		positions = append(positions, contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: topic, Partition: partition}, Offset: o})
	}
	return positions
}

func TestFormatPositions(t *testing.T) {
	t.Parallel()
	later := at("a", 1, 5)
	for _, test := range []struct {
		name      string
		positions []contactsync.Position
		limit     int
		want      string
		left      int
	}{
		{"none", nil, 100, "", 0},
		{"one", at("a", 1, 5), 100, "a/1@5", 0},
		{"a run", at("a", 1, 7, 5, 6), 100, "a/1@5-7", 0},
		{"a hole", at("a", 1, 5, 6, 8), 100, "a/1@5-6,a/1@8", 0},
		{"twice", append(at("a", 1, 5, 6), later...), 100, "a/1@5-6", 0},
		{"partitions and topics", slices.Concat(at("b", 0, 3), at("a", 10, 2), at("a", 2, 1)), 100, "a/2@1,a/10@2,b/0@3", 0},
		{"a run ends with its partition", slices.Concat(at("a", 0, 1), at("a", 1, 2)), 100, "a/0@1,a/1@2", 0},
		{"no room for all", at("a", 1, 1, 2, 5, 6, 9), len("a/1@1-2,a/1@5-6") - 1, "a/1@1-2", 3},
		{"room for just two", at("a", 1, 1, 2, 5, 6, 9), len("a/1@1-2,a/1@5-6"), "a/1@1-2,a/1@5-6", 1},
		{"no room for any", at("a", 1, 1), 3, "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text, left := deadletter.FormatPositions(test.positions, test.limit)
			if text != test.want || left != test.left {
				t.Errorf("%q and %d left, want %q and %d", text, left, test.want, test.left)
			}
		})
	}
}

func TestParsePositions_Refuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		",", "a", "a/1", "a@1", "/1@1", "a/1@", "a/1@-1", "a/1@2-1", "a/1@1-", "a/1@x", "a/-1@1", "a/1@1,",
		"a/2147483648@1", "a/1@9223372036854775808", "a/1@0-9223372036854775807", "a/1@0-1048576",
		"a/1@0-1048575,a/2@0", strings.Repeat("x", 1<<20),
	} {
		if positions, err := deadletter.ParsePositions(text); err == nil {
			t.Errorf("%.40q is read as %d positions", text, len(positions))
		} else if len(err.Error()) > 500 {
			t.Errorf("%.40q: the error has %d bytes", text, len(err.Error()))
		}
	}
	if positions, err := deadletter.ParsePositions("a/1@9223372036854775806-9223372036854775807"); err != nil || len(positions) != 2 {
		t.Errorf("the highest offsets: %v, %v", positions, err)
	}
}

// More positions than can be read back must not be written either.
func TestFormatPositions_WritesNoMoreThanCanBeRead(t *testing.T) {
	t.Parallel()
	positions := at("a", 0, make([]int64, 1<<20)...)
	for i := range positions {
		positions[i].Offset = int64(i)
	}
	text, left := deadletter.FormatPositions(append(positions, at("a", 1, 0)...), 1000)
	if text != "a/0@0-1048575" || left != 1 {
		t.Errorf("%q and %d left", text, left)
	}
	if read, err := deadletter.ParsePositions(text); err != nil || len(read) != 1<<20 {
		t.Errorf("read %d: %v", len(read), err)
	}
}

func TestPositions_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := positionsOf(t)
		text, left := deadletter.FormatPositions(want, math.MaxInt)
		if left != 0 {
			t.Fatalf("%d left out without a limit", left)
		}
		got, err := deadletter.ParsePositions(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if !slices.Equal(got, sortedOnce(want)) {
			t.Fatalf("%v\nis written %q\nand read %v", want, text, got)
		}
		limit := rapid.IntRange(0, len(text)).Draw(t, "limit")
		cut, left := deadletter.FormatPositions(want, limit)
		part, err := deadletter.ParsePositions(cut)
		if err != nil || len(cut) > limit || len(part)+left != len(got) || !slices.Equal(part, got[:len(part)]) {
			t.Fatalf("cut to %d: %q, %d left of %d: %v", limit, cut, left, len(got), err)
		}
	})
}

// positionsOf draws positions that lie close enough for runs and repeats.
func positionsOf(t *rapid.T) []contactsync.Position {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) contactsync.Position {
		return contactsync.Position{
			TopicPartition: contactsync.TopicPartition{
				Topic:     rapid.SampledFrom([]string{"events", "a.b-c_d", "x"}).Draw(t, "topic"),
				Partition: rapid.SampledFrom([]int32{0, 1, 12, math.MaxInt32}).Draw(t, "partition"),
			},
			Offset: rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(math.MaxInt64-5, math.MaxInt64)).Draw(t, "offset"),
		}
	}), 0, 60).Draw(t, "positions")
}

func sortedOnce(positions []contactsync.Position) []contactsync.Position {
	sorted := slices.Clone(positions)
	slices.SortFunc(sorted, func(a, b contactsync.Position) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return slices.Compact(sorted)
}
