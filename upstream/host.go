package upstream

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// parseHost parses a base URL and refuses what could lead to another host or path
// than it shows. Its errors quote neither a password nor a query, which may hold a key.
func parseHost(raw string, plaintext bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	// Not err itself: it quotes the URL, which may contain a password.
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return nil, fmt.Errorf("is not a base URL: write https://host")
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("holds a user name: write https://%s", u.Host)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, fmt.Errorf("holds more than scheme, host and base path: write %s://%s", u.Scheme, u.Host)
	case u.Scheme == "http" && !plaintext:
		return nil, fmt.Errorf("%q is not encrypted: write https://%s, or set allow_plaintext", raw, u.Host)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%q is not http or https: write https://%s", raw, u.Host)
	}
	base := strings.TrimRight(u.Path, "/")
	switch {
	case strings.Contains(base, strings.Trim(pathPrefix, "/")):
		return nil, fmt.Errorf("%q holds the path of the API: leave out %s and what follows", raw, strings.TrimSuffix(pathPrefix, "/"))
	case base != "" && (path.Clean(base) != base || u.EscapedPath() != u.Path):
		return nil, fmt.Errorf("%q has a base path with dots, empty parts or escaped characters: write the plain path", raw)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: base}, nil
}
