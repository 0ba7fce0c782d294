package floor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"holdfast/bench/harness"
)

// TCP is the floor as a server: a process of its own.
func TCP() harness.System {
	return harness.System{Name: NameTCP, Floor: NameTCP, Class: "A", Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		return start(ctx, p.Dir, int64(p.Items)*harness.BodyBytes)
	}}
}

// A process is a running floor behind TCP.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

// start runs this program as the floor, with a file of at least size bytes in dir.
func start(ctx context.Context, dir string, size int64) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", childEnv, size, dir))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = harness.DieWithParent()
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the floor: %w", err)
	}
	p := &process{cmd: cmd, in: in, out: bufio.NewReader(out)}
	if _, err := fmt.Fscanln(p.out, &p.addr); err != nil {
		return nil, errors.Join(fmt.Errorf("the floor tells no address: %w", err), p.Stop())
	}
	return p, nil
}

func (p *process) Dial(n int) (harness.Client, error) { return dial(p.addr, n) }

func (p *process) PIDs() []int { return []int{p.cmd.Process.Pid} }

// Written asks the child: it answers each line with its counts.
func (p *process) Written() (bytes, flushes float64, err error) {
	if _, err = io.WriteString(p.in, "\n"); err == nil {
		_, err = fmt.Fscanln(p.out, &bytes, &flushes)
	}
	return bytes, flushes, err
}

// Stop ends it: it lives as long as its standard input.
func (p *process) Stop() error {
	p.in.Close() // an error says that it has ended already
	return p.cmd.Wait()
}
