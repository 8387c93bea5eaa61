package check

import (
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
)

// Place is where an event is.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

// String prints it as topic/partition@offset.
func (p Place) String() string { return fmt.Sprintf("%s/%d@%d", p.Topic, p.Partition, p.Offset) }

// Letter is what the check needs of a dead letter.
type Letter struct {
	At     Place   // the record that is in it
	Ends   []Place // every event that it stands for, as far as there was room
	Left   int     // how many there was no room for: older events of the same contact
	Reason contactsync.Reason
}

// LettersOf reads the headers of dead letters. Its error names the record that is none.
func LettersOf(records []*kgo.Record) ([]Letter, error) {
	letters := make([]Letter, 0, len(records))
	for _, r := range records {
		l, err := letterOf(r)
		if err != nil {
			return nil, fmt.Errorf("read dead letter %s/%d@%d: %w", r.Topic, r.Partition, r.Offset, err)
		}
		letters = append(letters, l)
	}
	return letters, nil
}

func letterOf(r *kgo.Record) (Letter, error) {
	h := map[string]string{}
	for _, header := range r.Headers {
		h[header.Key] = string(header.Value)
	}
	partition, err := strconv.ParseInt(h["contactsync-partition"], 10, 32)
	if err != nil {
		return Letter{}, fmt.Errorf("header contactsync-partition: %w", err)
	}
	offset, err := strconv.ParseInt(h["contactsync-offset"], 10, 64)
	if err != nil {
		return Letter{}, fmt.Errorf("header contactsync-offset: %w", err)
	}
	l := Letter{
		At:     Place{h["contactsync-topic"], int32(partition), offset},
		Reason: contactsync.Reason(h["contactsync-reason"]),
	}
	positions, err := deadletter.ParsePositions(h["contactsync-positions"])
	if err != nil {
		return Letter{}, err
	}
	for _, p := range positions {
		l.Ends = append(l.Ends, Place{p.Topic, p.Partition, p.Offset})
	}
	if left := h["contactsync-positions-left"]; left != "" {
		if l.Left, err = strconv.Atoi(left); err != nil {
			return Letter{}, fmt.Errorf("header contactsync-positions-left: %w", err)
		}
	}
	return l, nil
}
