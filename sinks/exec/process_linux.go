package exec

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put the process at the head of a group, and tie its life to ours.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// reap waits for the end of the process. Until Wait, the dead process keeps its number, so that what is killed by that is
// its own group.
func (p *process) reap() {
	for unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	p.isOver()
	_ = p.cmd.Wait() // ProcessState has it
}
