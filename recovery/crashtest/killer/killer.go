// Package killer runs the service as a child process and ends it in every way that a test needs. It only ever signals
// processes that it started, by their own ids, and reaps every one of them.
package killer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build builds cmd/holdfast into a directory and returns the program's path.
func Build(dir string) (string, error) {
	program := filepath.Join(dir, "holdfast")
	out, err := exec.Command("go", "build", "-o", program, "holdfast/cmd/holdfast").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the service: %w\n%s", err, out)
	}
	return program, nil
}

// A Process is a service that was started. Safe for concurrent use.
type Process struct {
	URL string // where it listens: http://127.0.0.1:port; empty if it ended before; set by Await

	cmd   *exec.Cmd
	ready chan string   // takes the URL, once
	ended chan struct{} // closed when it is reaped
	at    time.Time     // when it ended; set before ended is closed

	mu  sync.Mutex
	log strings.Builder // what it wrote to standard error; guarded by mu
}

// patience bounds every wait for a process.
const patience = 15 * time.Second

var greeting = regexp.MustCompile(`holdfast listens on (http://[^ ,]+)`)

// Start runs a command line that serves, and returns when it listens, or has ended before that. It is killed and reaped
// at the end of the test at the latest.
func Start(t testing.TB, args ...string) *Process {
	t.Helper()
	p := Launch(t, args...)
	if !p.Await(patience) {
		t.Fatalf("the service is not ready after %v:\n%s", patience, p.Log())
	}
	return p
}

// Launch is Start, but returns at once: Await waits.
func Launch(t testing.TB, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(args[0], args[1:]...), ready: make(chan string, 1), ended: make(chan struct{})}
	p.cmd.SysProcAttr = diesWithParent()
	stderr, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() { p.read(stderr) })
	go func() {
		_ = p.cmd.Wait()
		p.at = time.Now()
		reader.Wait()
		stderr.Close()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// Await waits for a process that was launched: until it listens, or has ended before that. It reports whether one of
// the two came within d. One goroutine waits.
func (p *Process) Await(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case p.URL = <-p.ready:
	case <-p.ended:
	case <-timer.C:
		return false
	}
	return true
}

func (p *Process) read(stderr io.Reader) {
	for lines := bufio.NewReader(stderr); ; {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		if p.log.Len() < 1<<20 {
			p.log.WriteString(line)
		}
		p.mu.Unlock()
		if found := greeting.FindStringSubmatch(line); found != nil {
			p.ready <- found[1]
		}
		if err != nil {
			return
		}
	}
}

// Log returns what the process wrote to standard error so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// PID returns the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process as kill -9 does, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// Signal sends a signal. One to a process that has ended is lost.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Wait returns the exit code of a process that ends by itself, and when that was. A signal is 128 and its number.
func (p *Process) Wait(ctx context.Context) (code int, at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		return 0, at, errors.New("the process does not end:\n" + p.Log())
	}
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), p.at, nil
	}
	return status.ExitStatus(), p.at, nil
}
