package keyfile

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

// Report is what is known of a file that is read again and again. One that cannot be used changes nothing: what it
// held before stays in use.
type Report struct {
	Setting      string    `json:"setting"`                // that names the file
	Ends         time.Time `json:"ends,omitzero"`          // the certificate or token in use, where it does
	RefusedSince time.Time `json:"refused_since,omitzero"` // it cannot be used since
	Because      string    `json:"because,omitzero"`
}

// Refused is which files of one owner cannot be used. The zero value has none. Safe for concurrent use.
type Refused struct {
	mu    sync.Mutex
	files map[string]Report // by setting
}

// Note takes in what is wrong with the files, of which the settings begin with where, as they were read now. It reports
// whether that is news: something else was wrong, or nothing, when they were read last.
func (r *Refused) Note(now time.Time, where string, problems []setting.Error) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.files
	r.files = map[string]Report{}
	for _, p := range problems {
		name := where + "." + p.Key
		was, known := before[name]
		news = news || !known || was.Because != p.Problem
		if !known {
			was.RefusedSince = now
		}
		r.files[name] = Report{Setting: name, RefusedSince: was.RefusedSince, Because: p.Problem}
	}
	return news || len(before) != len(r.files)
}

// Reports are those of the files that are refused, or of which something ends.
func (r *Refused) Reports(where string, ends map[string]time.Time) []Report {
	r.mu.Lock()
	all := maps.Clone(r.files)
	r.mu.Unlock()
	if all == nil {
		all = map[string]Report{}
	}
	for key, end := range ends {
		one := all[where+"."+key]
		one.Setting, one.Ends = where+"."+key, end
		all[one.Setting] = one
	}
	return slices.SortedFunc(maps.Values(all), func(a, b Report) int { return cmp.Compare(a.Setting, b.Setting) })
}
