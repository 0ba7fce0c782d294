package trace_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/recovery/crashtest/trace"
)

// hexed is a string as strace shows it with -xx.
func hexed(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	return b.String()
}

// lines writes a trace: quoted strings and open files become hex.
func lines(all ...string) string {
	var b strings.Builder
	for _, line := range all {
		for i, part := range strings.Split(line, "'") {
			if i%2 == 1 {
				part = hexed(part)
			}
			b.WriteString(part)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func parse(t *testing.T, all ...string) *trace.Trace {
	t.Helper()
	tr, err := trace.Parse(strings.NewReader(lines(all...)), "/r", "/marks")
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestCallsBecomeEvents(t *testing.T) {
	tr := parse(t,
		`1  openat(AT_FDCWD<'/'>, "'/r/d/a'", O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 3<'/r/d/a'>`,
		`1  openat(AT_FDCWD<'/'>, "'/r/d/b'", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)`,
		`1  openat(AT_FDCWD<'/'>, "'/elsewhere'", O_RDWR|O_CREAT, 0600) = 4<'/elsewhere'>`,
		`1  pwrite64(3<'/r/d/a'>, "'hello'", 5, 4096 <unfinished ...>`,
		`2  write(5<'/marks'>, "'said'", 4) = 4`,
		`1  <... pwrite64 resumed>) = 5`,
		`1  fallocate(3<'/r/d/a'>, FALLOC_FL_KEEP_SIZE, 0, 4096) = 0`,
		`1  fallocate(3<'/r/d/a'>, 0, 100, 4096) = 0`,
		`1  ftruncate(3<'/r/d/a'>, 7) = 0`,
		`1  fdatasync(3<'/r/d/a'>) = 0`,
		`1  renameat2(AT_FDCWD<'/'>, "'/r/d/a'", AT_FDCWD<'/'>, "'/r/d/b'", RENAME_NOREPLACE) = 0`,
		`1  fsync(4<'/r/d'>) = 0`,
		`1  unlinkat(AT_FDCWD<'/'>, "'/r/d/b'", 0) = 0`,
		`1  mkdirat(AT_FDCWD<'/'>, "'/r/e'", 0700) = 0`,
		`1  fsync(4<'/r'>) = 0`,
		`1  +++ exited with 0 +++`,
	)
	want := []trace.Event{
		{Kind: trace.Make, Path: "d/a"},
		{Kind: trace.Mark, Data: []byte("said")},
		{Kind: trace.Write, Path: "d/a", Off: 4096, Data: []byte("hello")},
		{Kind: trace.Extend, Path: "d/a", Size: 4196},
		{Kind: trace.Resize, Path: "d/a", Size: 7},
		{Kind: trace.Sync, Path: "d/a"},
		{Kind: trace.Rename, Path: "d/a", To: "d/b"},
		{Kind: trace.Sync, Path: "d"},
		{Kind: trace.Remove, Path: "d/b"},
		{Kind: trace.MakeDir, Path: "e"},
		{Kind: trace.Sync, Path: "."},
	}
	if diff := cmp.Diff(want, tr.Events); diff != "" {
		t.Error(diff)
	}
	var order []string
	for _, s := range tr.Steps[4:8] {
		if s.Event >= 0 {
			order = append(order, fmt.Sprint(tr.Events[s.Event].Kind, s.End))
		}
	}
	if want := []string{"write false", "mark false", "mark true", "write true"}; !slices.Equal(order, want) {
		t.Errorf("%q", order)
	}
}

func TestWhatTheModelDoesNotKnowIsRefused(t *testing.T) {
	for _, line := range []string{
		`1  pwritev(3<'/r/a'>, [{iov_base="'x'", iov_len=1}], 1, 0) = 1`,
		`1  linkat(AT_FDCWD<'/'>, "'/r/a'", AT_FDCWD<'/'>, "'/r/b'", 0) = 0`,
		`1  pwrite64(3<'/r/a'>, "'hello'"..., 500000, 0) = 500000`,
		`1  pwrite64(3<'/r/a'>, "'hello'", 5, 0) = 3`,
		`1  pwrite64(3<'/r/a'>, "'hello'", 5, 0) = -1 ENOSPC (No space left on device)`,
		`1  fdatasync(3<'/r/a'>) = -1 EIO (Input/output error)`,
		`1  write(3<'/r/a'>, "'hello'", 5) = 5`,
		`1  mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3<'/r/a'>, 0) = 0x7f0000000000`,
		`1  renameat(AT_FDCWD<'/'>, "'/r/a'", AT_FDCWD<'/'>, "'/r/d/a'") = 0`,
		`1  fallocate(3<'/r/a'>, FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE, 0, 4096) = 0`,
		`1  copy_file_range(4<'/elsewhere'>, NULL, 3<'/r/a'>, NULL, 5, 0) = 5`,
		`1  sendfile(3<'/r/a'>, 4<'/elsewhere'>, NULL, 5) = 5`,
		`1  io_uring_setup(8, {flags=0}) = 5`,
	} {
		if _, err := trace.Parse(strings.NewReader(lines(line)), "/r", "/marks"); err == nil {
			t.Errorf("%s: it is taken", line)
		}
	}
}

// A world is a disk that plays events one after the other.
type world struct {
	*testing.T
	trace trace.Trace
	disk  *trace.Disk
}

func newWorld(t *testing.T, files map[string]string) *world {
	t.Helper()
	w := &world{T: t}
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if w.disk, err = trace.NewDisk(&w.trace, dir); err != nil {
		t.Fatal(err)
	}
	return w
}

// begin plays the beginning of a call, and returns its end.
func (w *world) begin(e trace.Event) (end func()) {
	w.Helper()
	n := len(w.trace.Events)
	w.trace.Events = append(w.trace.Events, e)
	w.step(trace.Step{Event: n})
	return func() { w.step(trace.Step{Event: n, End: true}) }
}

func (w *world) step(s trace.Step) {
	w.Helper()
	w.trace.Steps = append(w.trace.Steps, s)
	if err := w.disk.Play(len(w.trace.Steps)-1, func(e trace.Event) bool { return e.Size == 0 }); err != nil {
		w.Fatal(err)
	}
}

func (w *world) does(all ...trace.Event) {
	w.Helper()
	for _, e := range all {
		w.begin(e)()
	}
}

// images are all that there may be, each as its files in order, with runs of a byte in short.
func (w *world) images() []string {
	w.Helper()
	p, err := w.disk.Pending(".")
	if err != nil {
		w.Fatal(err)
	}
	seen := map[string]bool{}
	for n := range p.All(8) {
		seen[short(p.Image(p.Nth(8, n)))] = true
	}
	var all []string
	for s := range seen {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

func short(im trace.Image) string {
	var parts []string
	for name, content := range im.Files {
		var b strings.Builder
		for len(content) > 0 {
			n := len(content) - len(bytes.TrimLeft(content, string(content[:1])))
			c := content[0]
			if c == 0 {
				c = '.'
			}
			fmt.Fprintf(&b, " %c%d", c, n)
			content = content[n:]
		}
		parts = append(parts, name+":"+b.String())
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func (w *world) expect(what string, want ...string) {
	w.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, w.images()); diff != "" {
		w.Errorf("%s: %s", what, diff)
	}
}

func wrote(path string, off int64, c string, n int) trace.Event {
	return trace.Event{Kind: trace.Write, Path: path, Off: off, Data: bytes.Repeat([]byte(c), n)}
}

func synced(path string) trace.Event { return trace.Event{Kind: trace.Sync, Path: path} }

func TestWriteIsTornAtSectorsAndWholeOnceFlushed(t *testing.T) {
	w := newWorld(t, map[string]string{"f": strings.Repeat("a", 600)})
	w.does(wrote("f", 500, "b", 600))
	w.expect("torn", "f: a600", "f: a500 b12 a88", "f: a512 b512", "f: a500 b524", "f: a500 b12 a88 .424 b76", "f: a512 b588", "f: a500 b600", "f: a600 .424 b76")
	w.does(synced("f"))
	w.expect("flushed", "f: a500 b600")
}

func TestLaterWriteOfASectorHasTheEarlierInIt(t *testing.T) {
	w := newWorld(t, map[string]string{"f": strings.Repeat("a", 512)})
	w.does(wrote("f", 0, "b", 100), wrote("f", 200, "c", 100))
	w.expect("two in one sector", "f: a512", "f: b100 a412", "f: b100 a100 c100 a212")
}

func TestFlushCoversWhatHadReturnedOnly(t *testing.T) {
	w := newWorld(t, map[string]string{"f": ""})
	end := w.begin(wrote("f", 0, "a", 10))
	w.does(synced("f"))
	w.expect("a write under way", "f:", "f: a10")
	end()
	flushed := w.begin(synced("f"))
	w.expect("a flush under way", "f:", "f: a10")
	w.does(wrote("f", 512, "b", 10))
	flushed()
	w.expect("a write that came during a flush", "f: a10", "f: a10 .502 b10")
}

func TestSizesComeAndGo(t *testing.T) {
	w := newWorld(t, map[string]string{"f": strings.Repeat("a", 1024)})
	w.does(trace.Event{Kind: trace.Extend, Path: "f", Size: 2048})
	w.expect("allocated ahead", "f: a1024", "f: a1024 .1024")
	w.does(synced("f"), trace.Event{Kind: trace.Resize, Path: "f", Size: 700})
	w.expect("cut", "f: a1024 .1024", "f: a700")
	w.does(synced("f"), wrote("f", 700, "b", 2000))
	p, err := w.disk.Pending(".")
	if err != nil {
		t.Fatal(err)
	}
	lagged := map[int]bool{}
	for n := range uint64(2000) {
		im := p.Image(p.Sample(rand.New(rand.NewPCG(n, 1))))
		size := len(im.Files["f"])
		lagged[size] = true
		if size < 700 || size > 2700 {
			t.Fatalf("%d bytes", size)
		}
	}
	if !lagged[700] || !lagged[2700] || !lagged[700+512] {
		t.Errorf("sizes were %v", lagged)
	}
}

func TestNamesAreDurableWithTheirDirectory(t *testing.T) {
	w := newWorld(t, nil)
	w.does(trace.Event{Kind: trace.Make, Path: "a.tmp"}, wrote("a.tmp", 0, "x", 10), synced("a.tmp"))
	w.expect("made", "", "a.tmp: x10")
	w.does(trace.Event{Kind: trace.Rename, Path: "a.tmp", To: "a"}, trace.Event{Kind: trace.Make, Path: "b"})
	w.expect("renamed, and another", "", "a.tmp: x10", "a: x10", "b:", "a.tmp: x10, b:", "a: x10, b:")
	w.does(synced("."))
	w.expect("flushed", "a: x10, b:")
	w.does(trace.Event{Kind: trace.Remove, Path: "a"}, trace.Event{Kind: trace.Make, Path: "a"})
	w.expect("removed, and made again", "a: x10, b:", "b:", "a:, b:")
}

func TestFlushThatLiesIsRemembered(t *testing.T) {
	w := newWorld(t, map[string]string{"f": ""})
	w.does(wrote("f", 0, "a", 10), trace.Event{Kind: trace.Sync, Path: "f", Size: 1}, wrote("f", 512, "b", 10))
	w.expect("nothing is flushed", "f:", "f: a10", "f: .512 b10", "f: a10 .502 b10")
	p, err := w.disk.Pending(".")
	if err != nil {
		t.Fatal(err)
	}
	lacks := 0
	for n := range p.All(2) {
		if c := p.Nth(2, n); p.Lacks(c) {
			lacks++
		}
	}
	if lacks != 2 {
		t.Errorf("%d of four choices lack the first write", lacks)
	}
}

func TestImageIsWrittenAsItIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	im := trace.Image{Dirs: []string{".", "d"}, Files: map[string][]byte{"d/f": append([]byte("x"), make([]byte, 5000)...), "empty": nil}}
	for range 2 {
		if err := im.WriteTo(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range im.Files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}
