// Package bounded holds what reads foreign bytes to a bound: whatever the input, so much memory and
// processor time and no more.
package bounded

import (
	"runtime/metrics"
	"syscall"
	"testing"
	"time"
)

// mostTime is far more than any input takes on a slow machine, and far less than what would hold up a loop for long.
const mostTime = 3 * time.Second

// Within is called at the beginning of a fuzz target, and what it returns at its end: it fails if the process has
// allocated more than so many bytes meanwhile, or used more than three seconds of processor time.
func Within(t testing.TB, most int) (check func()) {
	t.Helper()
	return within(t, most, mostTime)
}

func within(t testing.TB, most int, longest time.Duration) (check func()) {
	t.Helper()
	bytes, cpu := used(t)
	return func() {
		t.Helper()
		b, c := used(t)
		if b-bytes > uint64(most) {
			t.Errorf("%d bytes were allocated, at most %d are wanted", b-bytes, most)
		}
		if c-cpu > longest {
			t.Errorf("it took %v, at most %v is wanted", c-cpu, longest)
		}
	}
}

// used is what the process has allocated so far, and its processor time.
func used(t testing.TB) (bytes uint64, cpu time.Duration) {
	t.Helper()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return sample[0].Value.Uint64(), time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
