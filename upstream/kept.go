package upstream

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/contactsync/contactsync"
)

// A hold has no dead letter that could hold the API's words about it, so the last texts are
// kept in memory for whoever asks for one by its hash.
const (
	mostKept      = 64
	mostKeptBytes = 1 << 10 // of one text
)

// Kept is a text of the API that is kept, and where it came from last.
type Kept struct {
	Hash    string           `json:"hash"` // as details have it
	Account string           `json:"account"`
	Stream  string           `json:"stream"`
	Kind    string           `json:"kind"`
	Status  int              `json:"status"`
	First   time.Time        `json:"first"`
	Last    time.Time        `json:"last"`
	Times   int              `json:"times"` // how many answers had it
	Bytes   int              `json:"bytes"` // of the whole text
	Text    contactsync.Text `json:"-"`     // its beginning, without our secrets

	ofRow bool // a dead letter may have it too
}

// kept are the texts that are kept. Safe for concurrent use.
type kept struct {
	mu   sync.Mutex
	list []Kept
}

// add keeps what a text begins with. One that is kept already becomes the newest.
func (k *kept) add(t Kept) {
	text := t.Text.Reveal()
	t.Bytes, t.First, t.Times = len(text), t.Last, 1
	t.Text = contactsync.NewText(beginning(text, mostKeptBytes))
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := slices.IndexFunc(k.list, func(o Kept) bool { return o.Hash == t.Hash }); i >= 0 {
		t.First, t.Times, t.ofRow = k.list[i].First, k.list[i].Times+1, t.ofRow && k.list[i].ofRow
		k.list = slices.Delete(k.list, i, i+1)
	}
	if k.list = append(k.list, t); len(k.list) > mostKept {
		i := k.worst()
		k.list = slices.Delete(k.list, i, i+1)
	}
}

// worst is the text that makes room for the others: of the stream that has the most of them,
// so that one stream whose answers differ each time takes none from the others; among these, one
// that a dead letter may have; the oldest.
func (k *kept) worst() int {
	type name struct{ account, stream string }
	of := map[name]int{}
	for i := range k.list {
		of[name{k.list[i].Account, k.list[i].Stream}]++
	}
	worst := 0
	for i := range k.list {
		a, b := &k.list[i], &k.list[worst]
		if c := cmp.Compare(of[name{a.Account, a.Stream}], of[name{b.Account, b.Stream}]); c > 0 || c == 0 && a.ofRow && !b.ofRow {
			worst = i
		}
	}
	return worst
}

// beginning returns at most so many bytes of a text, and only whole characters. Nothing else of
// the text stays in memory for it.
func beginning(text string, most int) string {
	if len(text) > most {
		for text = text[:most]; len(text) > 0; text = text[:len(text)-1] {
			if r, size := utf8.DecodeLastRuneInString(text); r != utf8.RuneError || size > 1 {
				break
			}
		}
	}
	return strings.Clone(text)
}

// keep keeps the text of a result, for which the log and the status have its hash: that of the
// answer as a whole, or of the first row that it does not accept.
func (c *Client) keep(b contactsync.Batch, r contactsync.Result, now time.Time) {
	text := r.Text
	for i := 0; i < len(r.Rows) && text.Reveal() == ""; i++ {
		text = r.Rows[i].Text
	}
	if text.Reveal() == "" {
		return
	}
	c.kept.add(Kept{
		Hash: c.speaker.hash(text.Reveal()), Account: b.Account, Stream: b.Stream, Kind: r.Kind.String(), Status: r.Status,
		Last: now, Text: text, ofRow: r.Kind == contactsync.Answered,
	})
}

// Kept returns the texts that are kept, the newest first.
func (c *Client) Kept() []Kept {
	c.kept.mu.Lock()
	defer c.kept.mu.Unlock()
	list := slices.Clone(c.kept.list)
	slices.Reverse(list)
	return list
}
