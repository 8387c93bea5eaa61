package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// badEvent is one line of event/testdata/poison.jsonl: a value that is no event.
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

// corpora are the files of what must be survived.
func corpora(root string) (events []badEvent, answers []badAnswer, err error) {
	if err := readLines(filepath.Join(root, "internal/event/testdata/poison.jsonl"), &events); err != nil {
		return nil, nil, err
	}
	return events, answers, readLines(filepath.Join(root, "upstream/testdata/answers/answers.jsonl"), &answers)
}

func readLines[T any](path string, into *[]T) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the corpus: %w: run it in the root of the repository, or name that with --root", err)
	}
	defer func() { _ = f.Close() }() // only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var one T
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return fmt.Errorf("read the corpus: %s, line %d: %w", path, len(*into)+1, err)
		}
		*into = append(*into, one)
	}
	return lines.Err()
}

// refusals is how often a bad answer is given before the API behaves, where it
// means that everything is kept and sent again.
const refusals = 2

// rule plays the answer. It applies what the answer says is done, and nothing else.
func (a badAnswer) rule() stub.Rule {
	apply := a.Kind == contactsync.Answered.String()
	r := stub.Rule{
		Name: a.Name, Last: refusals,
		Answer: &stub.Answer{Status: a.Status, Text: a.Body, Headers: a.Headers, Apply: &apply},
	}
	if a.Body == "" {
		r.Answer.Body = stub.Empty
	}
	switch a.Kind {
	case contactsync.Answered.String():
		r.Last = 1 // it is about both rows; the row that is tried again comes alone
		r.Rows = &stub.Rows{}
		for i, id := range a.Rows {
			if a.Verdicts[i] != 'D' {
				r.Rows.Drop = append(r.Rows.Drop, id)
			}
		}
	case contactsync.BadRequest.String(), contactsync.TooLarge.String():
		r.Last = 0 // to the bitter end
	}
	return r
}

// ends is the reason with which a row must end as a dead letter; empty where it
// must be delivered.
func (a badAnswer) ends(row int) contactsync.Reason {
	switch a.Kind {
	case contactsync.BadRequest.String():
		return contactsync.ReasonBadRequest
	case contactsync.TooLarge.String():
		return contactsync.ReasonTooLarge
	case contactsync.Answered.String():
		passing := len(a.Transient) > row && a.Transient[row] == 'T'
		if a.Verdicts[row] == 'F' && !passing && a.givesReason(a.Rows[row]) {
			return contactsync.ReasonRejected
		}
	}
	return ""
}

// givesReason tells whether the answer says why a row failed. A row of which it
// does not is tried again.
func (a badAnswer) givesReason(id string) bool {
	var whole struct{ FailedRecords []json.RawMessage }
	if json.Unmarshal([]byte(a.Body), &whole) != nil {
		return false
	}
	for _, one := range whole.FailedRecords {
		var record map[string]any
		if json.Unmarshal(one, &record) == nil && bytes.Contains(one, []byte(id)) {
			return len(record) > 1
		}
	}
	return false
}
