package deadletter

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/contactsync/contactsync"
)

// maxPositions bounds the positions of one dead letter: a range is short to write and
// long to hold.
const maxPositions = 1 << 20

// FormatPositions writes positions as a list without spaces, in the order of
// topic, partition and offset, each once:
//
//	list  = item *( "," item )
//	item  = topic "/" partition "@" offset [ "-" offset ]
//
// A run of offsets without a hole is one item with its first and last offset:
// "events/3@17-20,events/3@25". Generations are not written. Items that would
// make the text longer than limit bytes are left out; left says how many
// positions they hold.
func FormatPositions(positions []contactsync.Position, limit int) (text string, left int) {
	sorted := slices.Clone(positions)
	slices.SortFunc(sorted, comparePositions)
	sorted = slices.CompactFunc(sorted, func(a, b contactsync.Position) bool { return comparePositions(a, b) == 0 })

	var b strings.Builder
	written := 0
	for run := range runs(sorted) {
		item := run[0].String()
		if len(run) > 1 {
			item += "-" + strconv.FormatInt(run[len(run)-1].Offset, 10)
		}
		if b.Len() > 0 {
			item = "," + item
		}
		if b.Len()+len(item) > limit || written+len(run) > maxPositions {
			break
		}
		b.WriteString(item)
		written += len(run)
	}
	return b.String(), len(sorted) - written
}

// runs yields the stretches of sorted positions that follow each other.
func runs(sorted []contactsync.Position) iter.Seq[[]contactsync.Position] {
	return func(yield func([]contactsync.Position) bool) {
		for start := 0; start < len(sorted); {
			end := start + 1
			for end < len(sorted) && follows(sorted[end-1], sorted[end]) {
				end++
			}
			if !yield(sorted[start:end]) {
				return
			}
			start = end
		}
	}
}

func follows(a, b contactsync.Position) bool {
	return a.Topic == b.Topic && a.Partition == b.Partition && a.Offset+1 == b.Offset
}

func comparePositions(a, b contactsync.Position) int {
	return cmp.Or(
		strings.Compare(a.Topic, b.Topic),
		cmp.Compare(a.Partition, b.Partition),
		cmp.Compare(a.Offset, b.Offset),
	)
}

// ParsePositions reads what FormatPositions writes; an empty text is no position.
// It refuses a list of more than 1,048,576 of them.
func ParsePositions(text string) ([]contactsync.Position, error) {
	if text == "" {
		return nil, nil
	}
	var positions []contactsync.Position
	for item := range strings.SplitSeq(text, ",") {
		at, last, err := parseItem(item)
		if err != nil {
			return nil, fmt.Errorf("read positions: %w", err) // without what it holds: that may be anything
		}
		// Not last-at.Offset+1, which runs over for the widest range.
		if last-at.Offset >= int64(maxPositions-len(positions)) {
			return nil, fmt.Errorf("read positions: more than %d", maxPositions)
		}
		for ; ; at.Offset++ {
			positions = append(positions, at)
			if at.Offset == last {
				break
			}
		}
	}
	return positions, nil
}

// parseItem reads one item: its first position and the last offset.
func parseItem(item string) (first contactsync.Position, last int64, err error) {
	_, offsets, _ := strings.Cut(item, "@")
	_, to, isRange := strings.Cut(offsets, "-")
	if isRange {
		item = strings.TrimSuffix(item, "-"+to)
	}
	if first, err = contactsync.ParsePosition(item); err != nil || !isRange {
		return first, first.Offset, err
	}
	n, err := strconv.ParseUint(to, 10, 63)
	if err != nil || int64(n) < first.Offset {
		return first, 0, errors.New("the range does not end, or ends before it starts")
	}
	return first, int64(n), nil
}
