package upstream

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"sync"
)

// cachedRoutes bounds the answers that a Router keeps; when it is full it
// starts anew, which costs one walk over the patterns for each stream.
const cachedRoutes = 10_000

// Router says which account a stream belongs to. Safe for concurrent use.
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

// NewRouter returns a router over the streams of the accounts.
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
	// The last two only make the order one that does not depend on the file's.
	slices.SortFunc(r.patterns, func(a, b pattern) int {
		if a.exact != b.exact {
			if a.exact {
				return -1
			}
			return 1
		}
		return cmp.Or(
			cmp.Compare(b.literal, a.literal),
			cmp.Compare(len(b.text), len(a.text)),
			cmp.Compare(a.text, b.text),
		)
	})
	return r
}

// Route returns the account of a stream: the one with the most specific
// pattern, an exact name before a pattern and a longer literal beginning before
// a shorter one. An event that names its account goes to that account or, where
// none of its patterns matches, nowhere (I12).
func (r *Router) Route(stream, accountHint string) (accountID string, ok bool) {
	key := route{stream, accountHint}
	r.mu.RLock()
	accountID, known := r.cache[key]
	r.mu.RUnlock()
	if known {
		return accountID, accountID != ""
	}
	for _, p := range r.patterns {
		if accountHint != "" && p.account != accountHint {
			continue
		}
		if hit, err := path.Match(p.text, stream); err == nil && hit {
			accountID = p.account
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cache) >= cachedRoutes {
		clear(r.cache)
	}
	// The caller's strings may be parts of something large.
	r.cache[route{strings.Clone(stream), strings.Clone(accountHint)}] = accountID
	return accountID, accountID != ""
}
