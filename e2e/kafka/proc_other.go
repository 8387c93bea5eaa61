//go:build !linux

package kafka

import "syscall"

// childAttributes gives a node its own process group, so that ^C in a terminal
// reaches this program only. Nothing ends it when this program is killed.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
