//go:build !unix

package exec

import (
	"os"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return nil }

// reap waits for the end of the process.
func (p *process) reap() {
	_ = p.cmd.Wait() // ProcessState has it
	p.isOver()
}

func termGroup(p *os.Process) { killGroup(p) }

func killGroup(p *os.Process) { _ = p.Kill() } // it errs where it has ended already
