//go:build proof

package proof

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// badEvent is one line of internal/event/testdata/poison.jsonl: a value that is no event.
type badEvent struct {
	Name   string
	Reason contactsync.Reason
	Value  []byte
	Head   []byte // or head, count times unit, and tail
	Unit   []byte
	Count  int
	Tail   []byte
}

func (e badEvent) bytes() []byte {
	if e.Count > 0 {
		return slices.Concat(e.Head, bytes.Repeat(e.Unit, e.Count), e.Tail)
	}
	if e.Value == nil {
		return []byte{} // nil would be a tombstone
	}
	return e.Value
}

// badAnswer is one line of upstream/testdata/answers/answers.jsonl: an answer to
// a request with the rows, and what it means.
type badAnswer struct {
	Name      string
	Status    int
	Headers   map[string]string
	Body      string
	Rows      []string
	Kind      string
	Verdicts  string // a letter for each row: D, F, U
	Transient string // a letter for each row: T or -
}

// corpora reads the files of bad events and bad answers.
func corpora(t *testing.T) (events []badEvent, answers []badAnswer) {
	t.Helper()
	readLines(t, "../../internal/event/testdata/poison.jsonl", &events)
	readLines(t, "../../upstream/testdata/answers/answers.jsonl", &answers)
	return events, answers
}

func readLines[T any](t *testing.T, path string, into *[]T) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var one T
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatalf("%s, line %d: %v", path, len(*into)+1, err)
		}
		*into = append(*into, one)
	}
	must(t, lines.Err())
}

// refusals is how often a bad answer is given before the API behaves, where all
// rows are sent again after it.
const refusals = 2

// rule plays the answer. It applies the rows that the answer says are done, and no others.
func (a badAnswer) rule() stub.Rule {
	apply := a.Verdicts != ""
	r := stub.Rule{
		Name: a.Name, Last: refusals,
		Answer: &stub.Answer{Status: a.Status, Text: a.Body, Headers: a.Headers, Apply: &apply},
	}
	if a.Body == "" {
		r.Answer.Body = stub.Empty
	}
	switch {
	case apply:
		r.Last = 1 // it names both rows, and rows that are sent again come without the others
		r.Rows = &stub.Rows{}
		for i, id := range a.Rows {
			if a.Verdicts[i] != 'D' {
				r.Rows.Drop = append(r.Rows.Drop, id)
			}
		}
	case a.Kind == contactsync.BadRequest.String(), a.Kind == contactsync.TooLarge.String():
		r.Last = 0 // until the rows are dead letters
	}
	return r
}

// reason is why a row must become a dead letter; empty where it must be delivered: what an answer refuses is sent again, alone or
// once more, and the API behaves then.
func (a badAnswer) reason(row int) contactsync.Reason {
	switch a.Kind {
	case contactsync.BadRequest.String():
		return contactsync.ReasonBadRequest
	case contactsync.TooLarge.String():
		return contactsync.ReasonTooLarge
	}
	return ""
}
