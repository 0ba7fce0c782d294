package exec

import (
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A process is one start of the program, from its pipe to its end.
//
// The reading end of the pipe stays open here, too. So nothing that is written gets lost with the process, EPIPE is not
// possible, and what is left in the pipe when the process has ended is what it did not read.
type process struct {
	cmd       *osexec.Cmd
	in, out   *os.File // the ends of the pipe: we write to in, the process reads from out
	stderr    *tail    // nil: goes nowhere
	fed       chan struct{}
	fedAll    bool // set before fed is closed
	gone      chan struct{}
	startErr  error // this and readAll are set before live calls over
	readAll   bool
	mu        sync.Mutex
	started   bool        // guarded by mu
	over      bool        // guarded by mu; the system may give its number to another
	doomed    bool        // guarded by mu; it is to be killed as soon as it has started
	graceOver *time.Timer // guarded by mu; nil: no end was asked for
}

func newProcess(o Options, env []string) (*process, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{in: in, out: out, fed: make(chan struct{}), gone: make(chan struct{})}
	p.cmd = osexec.Command(o.Command[0], o.Command[1:]...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdin = o.Dir, env, out
	p.cmd.SysProcAttr = attributes()
	if o.Stderr {
		p.stderr = new(tail)
		p.cmd.Stderr = p.stderr
		p.cmd.WaitDelay = 100 * time.Millisecond // for what left the group and holds stderr
	}
	return p, nil
}

// abandon is for a process that is not to live.
func (p *process) abandon() {
	p.in.Close()
	p.out.Close()
}

// feed writes the input, and returns once that is done, or past use.
func (p *process) feed(input []byte) {
	defer close(p.fed)
	if len(input) > 0 {
		if _, err := p.in.Write(input); err != nil {
			return // in stays open: its end would tell the process that it has everything
		}
	}
	p.fedAll = true
	p.in.Close()
}

// stopFeeding ends feed, soon.
func (p *process) stopFeeding() {
	_ = p.in.SetWriteDeadline(time.Unix(1, 0)) // it errs where feed is done
}

// live starts the process and sees it to its end; what it knows is there when it calls over. It keeps its thread: on Linux
// the process would die with that.
func (p *process) live(over func(*process)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p.startErr = p.cmd.Start()
	if p.startErr == nil {
		p.isStarted()
		p.reap()
	}
	p.stopFeeding()
	<-p.fed
	p.in.Close()
	p.readAll = p.fedAll && p.isEmpty()
	p.out.Close()
	over(p)
	close(p.gone)
}

func (p *process) isStarted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = true
	if p.doomed {
		killGroup(p.cmd.Process)
	}
}

// isEmpty says whether nothing is left in the pipe, whose writing end is closed.
func (p *process) isEmpty() bool {
	n, _ := p.out.Read(make([]byte, 1))
	return n == 0
}

// end asks the group of the process to end, and kills it after the grace. It does not wait.
func (p *process) end(grace time.Duration) {
	p.stopFeeding()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs() {
		termGroup(p.cmd.Process)
		p.graceOver = time.AfterFunc(grace, p.kill)
	}
}

func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs() {
		killGroup(p.cmd.Process)
	}
}

// runs reports whether there is a group to send a signal to. A process that has not started yet is doomed. mu is held.
func (p *process) runs() bool {
	p.doomed = p.doomed || !p.started
	return p.started && !p.over
}

// isOver kills what is left of the group, and sees to it that nobody does so again.
func (p *process) isOver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	killGroup(p.cmd.Process)
	p.over = true
	if p.graceOver != nil {
		p.graceOver.Stop()
	}
}

// code is the exit code, -1 after a signal.
func (p *process) code() int { return p.cmd.ProcessState.ExitCode() }

// failure says how the process ended, and with stderr what it said.
func (p *process) failure() error {
	text := p.cmd.ProcessState.String()
	if p.code() == 0 {
		text += " before it had read all of its input"
	}
	if said := p.stderr.String(); said != "" {
		return fmt.Errorf("%s: %s", text, said)
	}
	return errors.New(text)
}

// reason takes the paths out of an error of a start, and says where it is of the directory and not of the program.
func reason(err error, dir string) error {
	if dir != "" {
		if _, missing := os.Stat(dir); missing != nil {
			return fmt.Errorf("dir: %w", reason(missing, ""))
		}
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	if name, ok := errors.AsType[*osexec.Error](err); ok {
		return name.Err
	}
	return err
}
