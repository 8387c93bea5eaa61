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
	// updateGaugesEvery keeps the gauges of idle accounts current.
	updateGaugesEvery = time.Second
)

// Run reads the files of credentials and the CA again when they change, renews connections, and keeps the gauges of the
// gates current, until ctx ends.
func (c *Client) Run(ctx context.Context) {
	if watcher := c.watchFiles(); watcher != nil {
		defer func() { _ = watcher.Close() }()
		c.run(ctx, watcher.Events, watcher.Errors)
	} else {
		c.run(ctx, nil, nil)
	}
}

func (c *Client) run(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error) {
	reread, pending := time.NewTimer(rereadEvery), false
	defer reread.Stop()
	gauges := time.NewTicker(updateGaugesEvery)
	defer gauges.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			// A directory that never rests must not put the reading off for ever.
			if !pending {
				reread.Reset(settleTime)
				pending = true
			}
		case err := <-errs:
			c.log.Warn("watch of credential files failed, they are read again", "err", err)
			reread.Reset(settleTime)
		case <-reread.C:
			for _, a := range c.accounts {
				for _, tokens := range a.tokens {
					tokens.reload()
				}
			}
			c.transport.renew(time.Now())
			reread.Reset(rereadEvery)
			pending = false
		case now := <-gauges.C:
			for _, a := range c.accounts {
				a.gate.updateGauges(now)
			}
		}
	}
}

// watchFiles watches the directories of the files: Kubernetes swaps a
// symbolic link beside the file, which a watch of the file would miss. It returns
// nil if the system cannot watch files.
func (c *Client) watchFiles() *fsnotify.Watcher {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		c.log.Warn("credential files cannot be watched, only polled", "every", rereadEvery, "err", err)
		return nil
	}
	var files []string
	if c.cfg.CAFile != "" {
		files = append(files, c.cfg.CAFile)
	}
	for _, a := range c.accounts {
		a.cfg.each(func(_, _ string, credentials Credentials) { files = append(files, credentials.files()...) })
	}
	watched := map[string]bool{}
	for _, file := range files {
		dir := filepath.Dir(file)
		if watched[dir] {
			continue
		}
		watched[dir] = true
		if err := watcher.Add(dir); err != nil {
			c.log.Warn("directory cannot be watched, its files are only polled", "dir", dir, "every", rereadEvery, "err", err)
		}
	}
	return watcher
}
