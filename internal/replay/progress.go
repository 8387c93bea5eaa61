package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/contactsync/contactsync"
)

// progressHead is the first line of a progress file.
const progressHead = "contactsync replay 1\n"

// The words of a progress file; the last one about a letter counts.
const (
	begun = "begun" // it is about to be sent: from now on the API may have an older state
	done  = "done"
	given = "given-up" // the API refused it, so it has nothing older
)

// Progress is the file that remembers what was sent to the API: a line for each
// letter before it is sent and one when that has ended.
type Progress struct {
	file  *os.File // nil where it is only read
	state map[contactsync.Position]string
}

// OpenProgress opens a progress file, or makes one. No other run can open it until it
// is closed, where the system has such locks.
func OpenProgress(path string) (*Progress, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the progress file: %w", err)
	}
	p := &Progress{file: file, state: map[contactsync.Position]string{}}
	if err := lock(file); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the progress file %s: is another replay at work with it? %w", path, err), file.Close())
	}
	if err := p.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the progress file %s: %w", path, err), file.Close())
	}
	return p, nil
}

// ReadProgress reads a progress file, which may be missing or have no name, for a run
// that sends nothing to the API: the file is neither changed nor locked.
func ReadProgress(path string) (*Progress, error) {
	p := &Progress{state: map[contactsync.Position]string{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		_, err = p.parse(text)
	}
	if err != nil {
		return nil, fmt.Errorf("read the progress file %s: %w", path, err)
	}
	return p, nil
}

func (p *Progress) read() error {
	text, err := io.ReadAll(p.file)
	if err != nil {
		return err
	}
	whole, err := p.parse(text)
	if err != nil {
		return err
	}
	if whole == 0 { // new, or torn in its first line
		if _, err := p.file.WriteAt([]byte(progressHead), 0); err != nil {
			return err
		}
		whole = len(progressHead)
	}
	// What a crash has left of a last line goes, so that the next one is whole.
	if err := p.file.Truncate(int64(whole)); err != nil {
		return err
	}
	_, err = p.file.Seek(int64(whole), io.SeekStart)
	return err
}

// parse takes in the lines of a file, and returns up to where they are whole: 0 where
// not even the first is.
func (p *Progress) parse(text []byte) (whole int, err error) {
	if len(text) < len(progressHead) && strings.HasPrefix(progressHead, string(text)) {
		return 0, nil
	}
	if !bytes.HasPrefix(text, []byte(progressHead)) {
		return 0, errors.New("it is none: give the name of a new file, or of one that an earlier replay has made")
	}
	whole = bytes.LastIndexByte(text, '\n') + 1
	for n, line := range strings.Split(string(text[len(progressHead):whole]), "\n") {
		if line == "" {
			continue
		}
		word, at, _ := strings.Cut(line, " ")
		position, err := contactsync.ParsePosition(at)
		if err != nil || word != begun && word != done && word != given {
			return 0, fmt.Errorf("line %d is damaged", n+2)
		}
		p.state[position] = word
	}
	return whole, nil
}

// note writes one word about some letters, and returns when it is on the disk.
func (p *Progress) note(word string, targets []*target) error {
	if len(targets) == 0 {
		return nil
	}
	var b strings.Builder
	for _, t := range targets {
		p.state[t.record.Position] = word
		fmt.Fprintf(&b, "%s %v\n", word, t.record.Position)
	}
	if _, err := p.file.WriteString(b.String()); err != nil {
		return fmt.Errorf("write the progress file: %w", err)
	}
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("write the progress file: %w", err)
	}
	return nil
}

// Owed is how many letters were begun and have not ended: of their contacts the API
// may have an older state than the log, also where the present run did not select them.
func (p *Progress) Owed() int {
	n := 0
	for _, word := range p.state {
		if word == begun {
			n++
		}
	}
	return n
}

// likeOwed names one of the letters that Owed counts.
func (p *Progress) likeOwed() string {
	for at, word := range p.state {
		if word == begun {
			return at.String()
		}
	}
	return ""
}

// Close closes the file.
func (p *Progress) Close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}
