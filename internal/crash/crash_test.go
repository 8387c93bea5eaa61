package crash_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/crash"
	"github.com/contactsync/contactsync/internal/lab/leak"
)

// panics are what a process can die of. Each begins with a letter for the one who asks for it.
var panics = []struct {
	name, want string // the latter is in what is printed
	value      func(text string) any
}{
	{"string", "panic: a value of type string, which is not printed", func(text string) any { return text }},
	{"error", "panic: a value of type *errors.errorString", func(text string) any { return errors.New(text) }},
	{"wrapped", "panic: a value of type *fmt.wrapError", func(text string) any { return fmt.Errorf("read: %w", errors.New(text)) }},
	{"stringer", "panic: a value of type crash_test.stringer", func(text string) any { return stringer(text) }},
	{"posed", "panic: a value of type crash_test.posed", func(text string) any { return posed{errors.New(text)} }},
	{"bytes", "panic: a value of type []uint8", func(text string) any { return []byte(text) }},
	{"bug", "panic: BUG: a constant (crash_test.go:", func(string) any { return "BUG: a constant" }},
	{"index", "panic: runtime error: index out of range [3] with length 0 (crash_test.go:", func(text string) any {
		var none []string
		return none[min(3, len(text))]
	}},
	{"conversion", "panic: interface conversion: interface {} is string, not int (crash_test.go:", func(text string) any { return any(text).(int) }},
	{"nil", "panic: panic called with nil argument", func(string) any { return nil }},
}

type stringer string

func (s stringer) String() string { return string(s) }

// posed says that it is an error of the runtime.
type posed struct{ error }

func (posed) RuntimeError() {}

// asked in the environment has this binary die.
const asked = "CRASH_TEST_PANIC"

func TestMain(m *testing.M) {
	how, unguarded := strings.CutPrefix(os.Getenv(asked), "unguarded ")
	for _, p := range panics {
		if p.name == how {
			done := make(chan struct{})
			go func() {
				if !unguarded {
					defer crash.Exit()
				}
				panic(p.value(strings.Join(leak.Planted(), " ")))
			}()
			<-done
		}
	}
	os.Exit(m.Run())
}

func die(t *testing.T, how string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asked+"="+how)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
		t.Errorf("%s: it ended with %v", how, err)
	}
	return string(out)
}

// A panic says what happened and where, and nothing of its value that may have been received.
func TestExit_PrintsNoValue(t *testing.T) {
	t.Parallel()
	leaked := 0
	for _, p := range panics {
		out := die(t, p.name)
		if !strings.HasPrefix(out, p.want) || !strings.Contains(out, "goroutine ") || !strings.Contains(out, "crash_test.TestMain.func1") {
			t.Errorf("%s: it prints\n%s", p.name, out)
		}
		if found := leak.Search([]byte(out)); len(found) > 0 {
			t.Errorf("%s: it prints %v", p.name, found[0])
		}
		leaked += len(leak.Search([]byte(die(t, "unguarded "+p.name))))
	}
	if leaked < 4*len(leak.Planted()) {
		t.Errorf("without it only %d texts are printed: the test proves nothing", leaked)
	}
}
