//go:build linux

package crashtest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/recovery/crashtest"
	"holdfast/recovery/crashtest/trace"
	"holdfast/recovery/crashtest/trace/script"
)

var (
	imageCount = flag.Int("images", 20_000, "crash images in TestLegalCrashImagesLoseNothing, of each of -long recordings")
	imageOnly  = flag.String("image", "", "the one crash image to look at, as a failure names it; with -recording")
	traceFile  = flag.String("recording", "", "a trace that a failure kept, instead of a new one")
)

// A recording is what one process did to a directory, and what it said about it.
type recording struct {
	*trace.Trace
	file  string              // what strace wrote
	start string              // the directory as the process found it
	marks map[int]script.Mark // by step
	paths [2]string           // the root, and the file of the marks
}

// memory is a directory of this test on a disk where flushes cost nothing, if there is one: what is durable is the
// model's to say.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "holdfast-images-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// lean is as memory, and allocates nothing ahead where it can: a third less work for each image.
func lean(t testing.TB) string {
	t.Helper()
	dir := memory(t)
	if syscall.Mount("ramfs", dir, "ramfs", 0, "mode=0700") == nil {
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	}
	return dir
}

// record runs the driver on a directory root, which it may find filled.
func record(t *testing.T, root string, arguments ...string) *recording {
	t.Helper()
	_, err := exec.LookPath("strace")
	crashtest.Require(t, "strace", err)
	if err := sources(); err != nil {
		t.Fatal(err)
	}
	beside := memory(t)
	driver, marks := filepath.Join(beside, "driver"), filepath.Join(beside, "marks")
	out, err := exec.Command("go", "build", "-o", driver, "holdfast/recovery/crashtest/trace/driver").CombinedOutput()
	if err != nil {
		t.Fatalf("build the driver: %v\n%s", err, out)
	}
	r := &recording{file: filepath.Join(beside, "strace"), start: filepath.Join(beside, "start")}
	if err := os.CopyFS(r.start, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := trace.Record(ctx, r.file, append([]string{driver, arguments[0], marks}, arguments[1:]...)...); err != nil {
		crashtest.Require(t, "strace", traced(ctx))
		t.Fatal(err)
	}
	r.read(t, root, marks)
	return r
}

// traced is nil where strace may trace.
func traced(ctx context.Context) error {
	return exec.CommandContext(ctx, "strace", "-o", os.DevNull, "true").Run()
}

// read parses what strace wrote.
func (r *recording) read(t *testing.T, root, marks string) {
	t.Helper()
	r.paths = [2]string{root, marks}
	f, err := os.Open(r.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if r.Trace, err = trace.Parse(f, root, marks); err != nil {
		t.Fatal(err)
	}
	r.marks = map[int]script.Mark{}
	for i, s := range r.Steps {
		if s.Event < 0 || s.End || r.Events[s.Event].Kind != trace.Mark {
			continue
		}
		if r.marks[i], err = script.ReadMark(r.Events[s.Event].Data); err != nil {
			t.Fatal(err)
		}
	}
}

// played is the recording of a store's whole life, or that which -recording names.
func played(t *testing.T, seed uint64) *recording {
	t.Helper()
	if *traceFile == "" {
		root := memory(t)
		return record(t, root, "play", strconv.FormatUint(seed, 10), filepath.Join(root, "data"))
	}
	text, err := os.ReadFile(*traceFile + ".paths")
	if err != nil {
		t.Fatal(err)
	}
	paths := strings.Split(string(text), "\n")
	r := &recording{file: *traceFile, start: t.TempDir()}
	r.read(t, paths[0], paths[1])
	return r
}

// keep leaves a recording where it stays, and returns its name for -recording.
func (r *recording) keep(t testing.TB, dir string) string {
	t.Helper()
	if *traceFile != "" {
		return *traceFile
	}
	content, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "strace")
	err = errors.Join(os.WriteFile(path, content, 0o600), os.WriteFile(path+".paths", []byte(r.paths[0]+"\n"+r.paths[1]), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// end is what step i ends, if it ends a call of this kind.
func (r *recording) end(i int, kind trace.Kind) (*trace.Event, bool) {
	s := r.Steps[i]
	if s.Event < 0 || !s.End || r.Events[s.Event].Kind != kind {
		return nil, false
	}
	return &r.Events[s.Event], true
}

// A count is how often something happened in a recording.
type count struct {
	what string
	is   func(e *trace.Event) bool
}

var happens = []count{
	{"create", func(e *trace.Event) bool { return e.Kind == trace.Rename && e.To == "data/queues.db" }},
	{"append", func(e *trace.Event) bool {
		return e.Kind == trace.Write && strings.HasSuffix(e.Path, ".log") && e.Off > 0
	}},
	{"commit", func(e *trace.Event) bool { return e.Kind == trace.Write && e.Path == "data/queues.db" && e.Off < 8192 }},
	{"rotate", func(e *trace.Event) bool { return e.Kind == trace.Rename && e.Path == "data/log/spare.tmp" }},
	{"seal", func(e *trace.Event) bool { return e.Kind == trace.Resize && strings.HasSuffix(e.Path, ".log") }},
	{"keys", func(e *trace.Event) bool { return e.Kind == trace.Rename && strings.HasSuffix(e.To, ".keys") }},
	{"unlink", func(e *trace.Event) bool { return e.Kind == trace.Remove && strings.HasSuffix(e.Path, ".log.gone.tmp") }},
	{"compact", func(e *trace.Event) bool { return e.Kind == trace.Rename && e.To == "data/queues.db" }},
	{"flush", func(e *trace.Event) bool { return e.Kind == trace.Sync }},
}

// covered checks that everything happened that a proof of the store needs, and logs how often.
func (r *recording) covered(t *testing.T) {
	t.Helper()
	var b strings.Builder
	for _, c := range happens {
		n := 0
		for i := range r.Events {
			if c.is(&r.Events[i]) {
				n++
			}
		}
		if fmt.Fprintf(&b, "%s %d, ", c.what, n); n == 0 || c.what == "compact" && n < 2 {
			t.Errorf("the recording has no %s", c.what)
		}
	}
	changes := map[string]int{}
	for _, m := range r.marks {
		if m.Begin != nil {
			for _, c := range m.Begin.Changes {
				word, _, _ := strings.Cut(c.To+" ", " ")
				changes[word]++
			}
		}
	}
	t.Logf("recorded: %ssettled %v", b.String(), changes)
	for _, to := range []string{"", "waiting", "retry", "dead"} {
		if changes[to] == 0 {
			t.Errorf("nothing became %q", to)
		}
	}
}

// evacuated counts what is still owed of segments that went. The seq of an item is its number here.
func (r *recording) evacuated(owed script.State, names []string) (n int) {
	oldest := 0
	for _, name := range names {
		if _, first, ok := strings.Cut(strings.TrimSuffix(name, ".log"), "-"); ok && strings.HasSuffix(name, ".log") {
			oldest, _ = strconv.Atoi(first)
			break
		}
	}
	for _, tags := range owed {
		for tag := range tags {
			if tag < oldest {
				n++
			}
		}
	}
	return n
}
