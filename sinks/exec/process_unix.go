//go:build unix && !linux

package exec

import "syscall"

// attributes put the process at the head of a group.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
