package kafka

import (
	"context"
	"fmt"
	"time"
)

// poll asks check every so often until it says yes or returns an error. When ctx
// ends first, the error tells what was waited for.
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
