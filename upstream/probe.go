package upstream

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// Probe checks that each host can be reached and returns one error for each that
// cannot. Any HTTP answer will do. It sends no token.
func (c *Client) Probe(ctx context.Context) []error {
	var errs []error
	for _, host := range slices.Sorted(maps.Keys(c.hosts)) {
		if err := c.probe(ctx, c.hosts[host]); err != nil {
			errs = append(errs, fmt.Errorf("reach %s: %s", host, c.redactor.excerpt(err.Error(), nil, nil)))
		}
	}
	return errs
}

func (c *Client) probe(ctx context.Context, base *url.URL) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errAnswerTimeout)
	defer cancel()
	u := *base
	u.Path = "/"
	req := &http.Request{Method: http.MethodHead, URL: &u, Host: u.Host, Header: http.Header{"User-Agent": {c.agent}}}
	resp, err := c.transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return resp.Body.Close()
}
