// Package crash decides what a panic may say. Go prints the value of one, and that may be a
// record, an answer or an error that quotes one: so each goroutine of the service begins with
//
//	defer crash.Exit()
//
// which ends the process as a panic does, with the type of the value, the place and the stack, whose
// numbers are addresses and lengths. The value itself is printed only where it cannot quote
// anything: the runtime's own errors, and the constants that this code panics with.
package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// exitCode is that of a process which Go ends for a panic.
const exitCode = 2

// Exit ends the process if the goroutine panics. It must be deferred itself, not called by
// what is deferred.
func Exit() {
	if v := recover(); v != nil {
		fmt.Fprintf(os.Stderr, "panic: %s\n\n%s", Said(v), debug.Stack())
		os.Exit(exitCode)
	}
}

// bug begins the constants that this code panics with.
const bug = "BUG: "

// Said is what may be printed of the value of a panic, and where that was. It is for the
// function that recovers it.
func Said(v any) string {
	said := fmt.Sprintf("a value of type %T, which is not printed because it may quote what was received", v)
	switch v := v.(type) {
	case runtime.Error:
		if kind := fmt.Sprintf("%T", v); strings.HasPrefix(strings.TrimPrefix(kind, "*"), "runtime.") {
			said = v.Error() // numbers and types
		}
	case string:
		if strings.HasPrefix(v, bug) {
			said = v
		}
	}
	return said + " (" + place() + ")"
}

// place returns the line that panicked.
func place() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	panicked := false
	for {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicked = true
		case panicked && !strings.HasPrefix(f.Function, "runtime."):
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return "at no known line"
		}
	}
}
