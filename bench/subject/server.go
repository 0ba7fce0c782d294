package subject

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"holdfast/bench/harness"
)

// A Setup is what a server is started with.
type Setup struct {
	URLs  []string // of more webhook sinks than the tally counts, after those
	Extra string   // more of the configuration's section "data", as "commit_delay: 1s"
}

// write makes the configuration file, with a sink for each url. A sink takes batches as lines, for which its first item
// waits up to 2 ms, and nothing is given up.
func (s Setup) write(path string, urls []string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {max_bytes: 64GiB, min_free: 64MiB%s}\n", s.Extra)
	fmt.Fprintf(&b, "defaults: {retry: {max_retries: -1, backoff: 50ms, max_backoff: 200ms}, breaker: {probe_every: 200ms}}\nsinks:\n")
	for i, u := range urls {
		fmt.Fprintf(&b, "  %s: {type: webhook, url: %q, batch: {items: %d, wait: 2ms, without_ids: true}}\n", SinkName(i), u, deliveryBatch)
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

// A process is a holdfast of its own. dir holds the configuration and the data; the harness removes it.
type process struct {
	binary, dir string
	cmd         *exec.Cmd
	addr        string
	ready       time.Duration // from exec to ready, at the last start
	stderr      chan string   // all it said, once it has ended
}

// Start runs the server, and returns when it is ready.
func (p *process) Start(ctx context.Context) error {
	p.cmd = exec.CommandContext(ctx, p.binary, "serve", "--listen", "127.0.0.1:0", "--config", filepath.Join(p.dir, "holdfast.yaml"), "--data", p.data())
	p.cmd.SysProcAttr = harness.DieWithParent()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start holdfast: %w", err)
	}
	said, listens := make(chan string, 1), make(chan string, 1)
	go watch(stderr, said, listens)
	p.stderr = said
	var open bool
	if p.addr, open = <-listens; !open {
		return fmt.Errorf("holdfast did not start: %w\n%s", p.cmd.Wait(), <-said)
	}
	if err := p.awaitReady(ctx); err != nil {
		return errors.Join(err, p.Kill())
	}
	p.ready = time.Since(began)
	return nil
}

// watch finds the address in what a server says, and hands over all of that, up to a limit, at the end.
func watch(r io.Reader, said, listens chan<- string) {
	const most = 16 << 10
	var all strings.Builder
	found := false
	for s := bufio.NewScanner(r); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "holdfast listens on http://"); ok && !found {
			addr, _, _ := strings.Cut(rest, ",")
			listens <- addr // it has room for one
			found = true
		}
		if all.Len() < most {
			all.WriteString(s.Text() + "\n")
		}
	}
	said <- all.String()
	close(listens)
}

func (p *process) awaitReady(ctx context.Context) error {
	for until := time.Now().Add(harness.Patience); ; {
		r, err := http.Get("http://" + p.addr + "/readyz")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(until) {
			return fmt.Errorf("holdfast is not ready after %v: %w", harness.Patience, err)
		}
		if err := harness.Sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func (p *process) data() string { return filepath.Join(p.dir, "data") }

// PID is that of the last start.
func (p *process) PID() int { return p.cmd.Process.Pid }

// Ready is how long the last start took, from exec to ready.
func (p *process) Ready() time.Duration { return p.ready }

// Stop asks the server to end, as a service manager does, and fails if it does not do so in good order.
func (p *process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(harness.Patience, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	said := <-p.stderr
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("holdfast: %w\n%s", err, said)
	}
	return nil
}

// Kill ends the server at once.
func (p *process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	<-p.stderr
	p.cmd.Wait() // it says that it was killed
	return nil
}
