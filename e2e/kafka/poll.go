package kafka

import (
	"context"
	"fmt"
	"time"
)

// poll calls check every so often until it returns true or an error. When ctx ends
// first, the error names what was waited for.
func poll(ctx context.Context, every time.Duration, until string, check func(context.Context) (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if ok, err := check(ctx); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting: %s: %w", until, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
