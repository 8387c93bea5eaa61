// Package logbuffer keeps a log that tests read while it is written.
//
// It starts no goroutine.
package logbuffer

import (
	"strings"
	"sync"
)

// Buffer holds everything written to it. The zero value is empty and ready to use.
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

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
