package upstream

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settleTime lets a writer finish with all files before they are read.
	settleTime = 250 * time.Millisecond
	// rereadEvery finds changes on file systems that report none.
	rereadEvery = time.Minute
	// gaugesEvery keeps budgets and waits current in the metrics while nothing is sent.
	gaugesEvery = time.Second
)

// Run reads credential files again when they change and keeps the gauges of
// the budgets current, until ctx ends. It returns nil.
func (c *Client) Run(ctx context.Context) error {
	var events <-chan fsnotify.Event
	var faults <-chan error
	if watcher := c.watchFiles(); watcher != nil {
		defer func() { _ = watcher.Close() }()
		events, faults = watcher.Events, watcher.Errors
	}
	reread, soon := time.NewTimer(rereadEvery), false
	defer reread.Stop()
	gauges := time.NewTicker(gaugesEvery)
	defer gauges.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			// A directory that never rests must not put the reading off for ever.
			if !soon {
				reread.Reset(settleTime)
				soon = true
			}
		case err := <-faults:
			c.log.Warn("watch of credential files missed something, they are read again", "err", err)
			reread.Reset(settleTime)
		case <-reread.C:
			for _, a := range c.accounts {
				a.tokens.reload()
			}
			reread.Reset(rereadEvery)
			soon = false
		case now := <-gauges.C:
			for _, a := range c.accounts {
				a.gate.observe(now)
			}
		}
	}
}

// watchFiles watches the directories of the credential files: Kubernetes swaps
// a symbolic link beside the file, which a watch on the file would not see. It
// returns nil where the system has no watch to give.
func (c *Client) watchFiles() *fsnotify.Watcher {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		c.log.Warn("credential files are not watched, only read again at times", "every", rereadEvery, "err", err)
		return nil
	}
	watched := map[string]bool{}
	for _, a := range c.accounts {
		for _, file := range a.cfg.Credentials.files() {
			dir := filepath.Dir(file)
			if watched[dir] {
				continue
			}
			watched[dir] = true
			if err := watcher.Add(dir); err != nil {
				c.log.Warn("directory is not watched, its files are only read again at times", "dir", dir, "every", rereadEvery, "err", err)
			}
		}
	}
	return watcher
}
