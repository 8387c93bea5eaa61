package kafka

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// process is one running Java program.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended and is reaped
	err  error         // how it ended; to be read after done
}

// startProcess starts cmd and a goroutine in wg that waits for its end.
func startProcess(wg *sync.WaitGroup, cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = childAttributes()
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	wg.Go(func() {
		defer close(p.done)
		// The kernel sends the death signal when the starting thread ends, not the
		// program: so the thread stays with this goroutine until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

// signal sends sig. A process that has ended already is no error.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to process %d: %w", sig, p.cmd.Process.Pid, err)
	}
	return nil
}

// ended reports whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
