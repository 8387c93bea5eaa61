package upstream

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"sync"
)

// maxCachedRoutes bounds a Router's cache. A full cache is cleared, which costs
// one walk over the patterns for each stream.
const maxCachedRoutes = 10_000

// Router finds the account of a stream. Safe for concurrent use.
type Router struct {
	patterns []pattern // most specific first

	mu    sync.RWMutex // guards cache
	cache map[route]string
}

type pattern struct {
	text    string
	literal int // bytes before the first wildcard
	exact   bool
	account string
}

type route struct{ stream, hint string }

// NewRouter returns a router over the stream patterns of the accounts.
func NewRouter(accounts []Account) *Router {
	r := &Router{cache: map[route]string{}}
	for _, a := range accounts {
		for _, text := range a.Streams {
			literal := strings.IndexAny(text, `*?[\`)
			exact := literal < 0
			if exact {
				literal = len(text)
			}
			r.patterns = append(r.patterns, pattern{text, literal, exact, a.ID})
		}
	}
	slices.SortFunc(r.patterns, func(a, b pattern) int {
		if a.exact != b.exact {
			if a.exact {
				return -1
			}
			return 1
		}
		return cmp.Or(
			cmp.Compare(b.literal, a.literal),
			// The rest only makes the order independent of the order in the file.
			cmp.Compare(len(b.text), len(a.text)),
			cmp.Compare(a.text, b.text),
		)
	})
	return r
}

// Route returns the account whose pattern matches the stream best: an exact name
// before a wildcard, and a longer literal prefix before a shorter one. If the event
// names an account (accountHint), only that account's patterns count, so a
// mismatch has no route (I12).
func (r *Router) Route(stream, accountHint string) (accountID string, ok bool) {
	key := route{stream, accountHint}
	r.mu.RLock()
	accountID, cached := r.cache[key]
	r.mu.RUnlock()
	if cached {
		return accountID, accountID != ""
	}
	for _, p := range r.patterns {
		if accountHint != "" && p.account != accountHint {
			continue
		}
		if matched, err := path.Match(p.text, stream); err == nil && matched {
			accountID = p.account
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cache) >= maxCachedRoutes {
		clear(r.cache)
	}
	// The arguments may be substrings of large records: do not keep those alive.
	r.cache[route{strings.Clone(stream), strings.Clone(accountHint)}] = accountID
	return accountID, accountID != ""
}
