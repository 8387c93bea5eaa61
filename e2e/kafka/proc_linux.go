package kafka

import "syscall"

// childAttributes gives a node its own process group, so that ^C in a terminal
// reaches this program only, and ends it when the thread that started it dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
