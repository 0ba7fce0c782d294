//go:build !linux

package exec

// reap waits for the end of the process.
func (p *process) reap() {
	_ = p.cmd.Wait() // ProcessState has it
	p.isOver()
}
