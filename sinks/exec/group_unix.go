//go:build unix

package exec

import (
	"os"
	"syscall"
)

// termGroup asks all of the group to end. It errs where nobody is left.
func termGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) }

func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
