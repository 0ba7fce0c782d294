package crashtest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/recovery/crashtest"
	"holdfast/recovery/crashtest/book"
	"holdfast/recovery/crashtest/killer"
)

// Guarantee G4, in part: the flush fails, but the page cache keeps what it should have written. With strace, the n-th
// fdatasync of a thread fails, once for each thread.
func TestFailedSyncEndsTheProcess(t *testing.T) {
	_, err := exec.LookPath("strace")
	crashtest.Require(t, "strace", err)
	failed := map[string]int{}
	for _, f := range []flush{{n: 1}, {n: 2}, {n: 3}, {n: 4}, {n: 6}, {n: 8}, {n: 4, only: "queues.db"}, {n: 7, only: "queues.db"}} {
		t.Run(f.String(), func(t *testing.T) { failSync(t, f, failed) })
	}
	t.Logf("| fdatasync fails | %v |", failed)
	if failed["log"] == 0 || failed["queues.db"] < 4 {
		t.Errorf("failed were %v: the log's and the queues' are wanted, at the start and while it runs", failed)
	}
}

// Guarantee G4, in part: exit within 1 s, also while a receiver does not answer.
func TestFailedSyncIsNotHeldUpByAReceiver(t *testing.T) {
	_, err := exec.LookPath("strace")
	crashtest.Require(t, "strace", err)
	failSync(t, flush{n: 5, hangs: true}, map[string]int{})
}

// A flush is which fdatasync fails.
type flush struct {
	n     int
	only  string // of this file; empty: of any
	hangs bool   // while a receiver does not answer
}

func (f flush) String() string {
	name := fmt.Sprint("flush ", f.n)
	if f.only != "" {
		name += " of " + f.only
	}
	return name
}

// failSync runs a service of which a flush fails, with some load, and starts it again without.
func failSync(t *testing.T, f flush, failed map[string]int) {
	r := newRig(t, three()...)
	r.start()
	r.receivers[1].down.Store(true) // so that something is owed
	for i := range 20 {
		r.one(fmt.Sprint("before", i), book.Durable)
	}
	r.kill()
	r.receivers[1].down.Store(false)
	r.receivers[1].hangs.Store(f.hangs)

	trace := filepath.Join(r.dir, "trace")
	args := []string{"strace", "-D", "-f", "-y", "-ttt", "-o", trace, "-e", "trace=fdatasync", "-e", fmt.Sprint("inject=fdatasync:error=EIO:when=", f.n)}
	if f.only != "" {
		args = append(args, "-P", filepath.Join(r.dir, "data", f.only))
	}
	p := killer.Start(r, append(args, program, "serve", "--config", r.config())...)
	r.process = p
	if p.URL != "" {
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		load := &producer{rig: r, name: "load", batch: 1, pace: time.Millisecond}
		load.post(ctx) // until it gets no answer
		stop()
	}
	code, ended, err := p.Wait(t.Context())
	if err != nil || code != 74 {
		t.Fatalf("exit %d, want 74: %v\n%s", code, err, p.Log())
	}
	at, file := r.injection(trace)
	if took := ended.Sub(at); took > time.Second {
		t.Errorf("it took %v to end after the flush of %s had failed\n%s", took, file, p.Log())
	}
	failed[file]++
	if file == "log" {
		r.expectNoAck(at)
	}
	r.end(at) // no mark can be made after it

	r.receivers[1].hangs.Store(false)
	r.start()
	r.drain()
	t.Logf("%s, %v before the end: %v", file, ended.Sub(at), r.judge(bounds))
}

// fdatasyncs finds the calls in a trace: the thread, the time, the file of one that begins, and what became of it.
var fdatasyncs = regexp.MustCompile(`(?m)^(\d+)\s+(\d+\.\d+) (?:fdatasync\(\d+<([^>]*)>|<\.\.\. fdatasync resumed>)(.*)$`)

// injection returns when the flush failed that ended the process, and of what. One of a segment that is being sealed
// does not: it is passed over.
func (r *rig) injection(trace string) (at time.Time, file string) {
	r.Helper()
	text, err := os.ReadFile(trace)
	if err != nil {
		r.Fatal(err)
	}
	type call struct{ at, path string }
	begun, newest := map[string]call{}, ""
	var failed []call
	for _, f := range fdatasyncs.FindAllStringSubmatch(string(text), -1) {
		if f[3] != "" {
			begun[f[1]] = call{f[2], f[3]}
		}
		if strings.HasSuffix(f[3], ".log") {
			newest = max(newest, f[3])
		}
		if strings.Contains(f[4], "INJECTED") {
			failed = append(failed, begun[f[1]])
		}
	}
	failed = slices.DeleteFunc(failed, func(c call) bool { return strings.HasSuffix(c.path, ".log") && c.path != newest })
	if len(failed) == 0 {
		r.Fatalf("no flush has failed:\n%s", text)
	}
	last := failed[len(failed)-1]
	seconds, err := strconv.ParseFloat(last.at, 64)
	if err != nil {
		r.Fatal(err)
	}
	if strings.Contains(last.path, "/log/") {
		return time.UnixMicro(int64(seconds * 1e6)), "log"
	}
	return time.UnixMicro(int64(seconds * 1e6)), filepath.Base(last.path)
}

// expectNoAck looks at what the producers were told: nothing after the flush had failed.
func (r *rig) expectNoAck(at time.Time) {
	r.Helper()
	for _, t := range r.book.Record().Told {
		if t.Answer >= book.Durable && t.At.After(at) {
			r.Errorf("%s was acked %v after the log's flush had failed", t.Tag, t.At.Sub(at))
		}
	}
}

// A directory that the service makes is durable in the one above, up to the first that was there.
func TestNewDirectoriesAreDurable(t *testing.T) {
	_, err := exec.LookPath("strace")
	crashtest.Require(t, "strace", err)
	taken, err := net.Listen("tcp", "127.0.0.1:0") // so that it ends by itself
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	top := t.TempDir()
	trace, data := filepath.Join(top, "trace"), filepath.Join(top, "a/b/data")
	p := killer.Start(t, "strace", "-D", "-f", "-y", "-o", trace, "-e", "trace=fsync", program, "serve", "--data", data, "--listen", taken.Addr().String())
	if code, _, err := p.Wait(t.Context()); code != 75 {
		t.Fatalf("exit %d, %v\n%s", code, err, p.Log())
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{top, filepath.Join(top, "a"), filepath.Join(top, "a/b"), data, filepath.Join(data, "log")} {
		if !strings.Contains(string(text), "<"+dir+">") {
			t.Errorf("%s is not synced:\n%s", dir, text)
		}
	}
}
