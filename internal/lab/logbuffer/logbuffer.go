// Package logbuffer keeps a log for tests that read it while it is written.
//
// It starts no goroutine.
package logbuffer

import (
	"strings"
	"sync"
)

// Buffer holds all that was written to it. The zero value is empty and ready.
type Buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write adds p; it never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
