package upstream

import (
	"fmt"
	"strings"
	"sync"

	"github.com/contactsync/contactsync"
)

// maxCachedRoutes bounds a Router's cache. A full cache is cleared, which costs
// one walk over the patterns for each stream.
const maxCachedRoutes = 10_000

// Router finds the account of a stream. Safe for concurrent use.
type Router struct {
	accounts *patterns
	apps     map[string]*patterns // of each account

	mu    sync.RWMutex // guards cache
	cache map[route]string
}

type route struct{ stream, hint string }

// NewRouter returns a router over the stream patterns of the accounts.
func NewRouter(accounts []Account) *Router {
	r := &Router{accounts: newPatterns(streamPatterns(accounts)), apps: map[string]*patterns{}, cache: map[route]string{}}
	for i := range accounts {
		r.apps[accounts[i].ID] = newPatterns(appPatterns(fmt.Sprintf("accounts[%d].", i), &accounts[i]))
	}
	return r
}

// appPatterns returns the patterns of an account's apps.
func appPatterns(key string, a *Account) []pattern {
	var all []pattern
	for i, app := range a.Apps {
		for j, text := range app.Streams {
			all = append(all, pattern{text, fmt.Sprintf("%sapps[%d].streams[%d]", key, i, j), app.Name})
		}
	}
	return all
}

// Credential returns the name of the app that signs the requests of a stream of an
// account; empty where the account's own credentials do.
func (r *Router) Credential(account, stream string) string {
	if apps := r.apps[account]; apps != nil {
		if found := apps.match(stream, ""); len(found) > 0 {
			return found[0].owner
		}
	}
	return ""
}

// streamPatterns returns the patterns of all accounts.
func streamPatterns(accounts []Account) []pattern {
	var all []pattern
	for i, a := range accounts {
		for j, text := range a.Streams {
			all = append(all, pattern{text, fmt.Sprintf("accounts[%d].streams[%d]", i, j), a.ID})
		}
	}
	return all
}

// Route returns the account whose pattern takes the stream: of those that match, the one
// that every other one contains. If the event names an account (accountHint), only that
// account's patterns count, so a mismatch has no route (I12).
func (r *Router) Route(stream, accountHint string) (accountID string, ok bool) {
	key := route{stream, accountHint}
	r.mu.RLock()
	accountID, cached := r.cache[key]
	r.mu.RUnlock()
	if cached {
		return accountID, accountID != ""
	}
	if found := r.accounts.match(stream, accountHint); len(found) > 0 {
		accountID = found[0].owner
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

// Explain says in lines for a person which account takes a stream, and why.
func (r *Router) Explain(stream string) []string {
	found := r.accounts.match(stream, "")
	if !contactsync.IsName(stream) {
		return []string{fmt.Sprintf("stream %q: no name of a stream, so its events become dead letters (invalid)", stream)}
	}
	if len(found) == 0 {
		return []string{fmt.Sprintf("stream %s: no account takes it, so its events become dead letters (unmapped)", stream)}
	}
	lines := []string{fmt.Sprintf("stream %s: account %s, by %s", stream, found[0].owner, found[0])}
	lines = append(lines, r.explainCredential(found[0].owner, stream)...)
	named := map[string]bool{found[0].owner: true}
	for _, other := range found[1:] {
		line := fmt.Sprintf("  also in %s, which is less specific", other)
		if !named[other.owner] {
			named[other.owner] = true
			line += fmt.Sprintf(": account %s, for events that name it as accountId", other.owner)
			lines = append(append(lines, line), r.explainCredential(other.owner, stream)...)
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

func (r *Router) explainCredential(account, stream string) []string {
	apps := r.apps[account].match(stream, "")
	if len(apps) == 0 {
		return []string{fmt.Sprintf("  credentials: those of account %s itself", account)}
	}
	lines := []string{fmt.Sprintf("  credentials: app %s of account %s, by %s", apps[0].owner, account, apps[0])}
	for _, other := range apps[1:] {
		lines = append(lines, fmt.Sprintf("  also in %s of app %s, which is less specific", other, other.owner))
	}
	return lines
}

// String names a pattern for a person.
func (p pattern) String() string { return fmt.Sprintf("%q (upstream.%s)", p.text, p.key) }
