//go:build unix

package exec

import (
	"os"
	"syscall"
)

// termGroup asks all of the group to end.
func termGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) } // it errs where nobody is left

func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
