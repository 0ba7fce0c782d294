package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/bench/harness"
)

// A process is a program that the harness has started, and that dies with it. What it says goes to a file.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	err   error // of Wait; read once ended is closed
}

const (
	startPatience = 60 * time.Second // until it can be connected
	stopPatience  = 20 * time.Second // until it is killed
)

// launch starts a program in a process group of its own, with its log in dir.
func launch(name string, cmd *exec.Cmd, dir string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = harness.DieWithParent()
	}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr.Setpgid = log, log, true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log.Name(), ended: make(chan struct{})}
	go func() { p.err = cmd.Wait(); close(p.ended) }()
	return p, nil
}

// await tries to connect until that works. It fails if the process ends, or after startPatience.
func (p *process) await(ctx context.Context, connect func() error) error {
	for until := time.Now().Add(startPatience); ; {
		err := connect()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %w: %s", p.name, p.err, p.said())
		default:
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s cannot be connected after %v: %w: %s", p.name, startPatience, err, p.said())
		}
		if err := harness.Sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// said is the end of the log, as one line.
func (p *process) said() string {
	const most = 300
	b, _ := os.ReadFile(p.log)
	return strings.Join(strings.Fields(string(b[max(0, len(b)-most):])), " ")
}

// stop asks the process to end with a signal, waits, and kills its group if that takes too long.
func (p *process) stop(sig syscall.Signal) error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s had ended: %w: %s", p.name, p.err, p.said())
	default:
	}
	err := p.cmd.Process.Signal(sig)
	select {
	case <-p.ended: // a status that tells of the signal is in good order
		return err
	case <-time.After(stopPatience):
	}
	err = errors.Join(err, syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL), fmt.Errorf("%s did not stop within %v", p.name, stopPatience))
	<-p.ended
	return err
}

// pids are the process and all that descend from it.
func (p *process) pids() []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		b, err := os.ReadFile(s)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(s)))
		if v := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(v) > 1 {
			parent, _ := strconv.Atoi(v[1])
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// freePorts are n ports of 127.0.0.1 that nobody listened on a moment ago. They are below those that the system gives to
// clients: to connect again and again to a port of those, while nobody listens there, ends in a connection to oneself.
func freePorts(n int) (ports []int, err error) {
	const lowest, highest, tries = 15_000, 32_000, 1_000
	for range tries {
		if len(ports) == n {
			return ports, nil
		}
		ln, err := net.Listen("tcp", loopback(lowest+rand.IntN(highest-lowest)))
		if err != nil {
			continue
		}
		defer ln.Close() // all are taken until the last is found, so that they differ
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return nil, fmt.Errorf("no free port from %d to %d", lowest, highest)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// A remote is a peer in a process of its own, with its sinks in this one.
type remote struct {
	process *process
	signal  syscall.Signal // that ends it in good order
	dial    harness.Dial
	sinks   *workers
	unblock []func() error // ends sinks that do not look at their context
}

func (s *remote) Dial(n int) (harness.Client, error) { return s.dial(n) }

func (s *remote) PIDs() []int { return s.process.pids() }

// Stop disconnects the sinks before the server ends.
func (s *remote) Stop() error {
	return errors.Join(s.sinks.stop(s.unblock...), s.process.stop(s.signal))
}

// serve starts a process, awaits its port, and lets connect fill in the sinks and the producers. Where that fails,
// nothing is left behind.
func serve(ctx context.Context, name string, cmd *exec.Cmd, dir string, connect func(s *remote) error) (harness.Running, error) {
	p, err := launch(name, cmd, dir)
	if err != nil {
		return nil, err
	}
	s := &remote{process: p, signal: syscall.SIGTERM, sinks: startWorkers(0, nil)} // a library may have its own goroutines
	if err := connect(s); err != nil {
		s.Stop() // what this says is a consequence
		return nil, err
	}
	return s, nil
}
