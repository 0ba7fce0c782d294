package file_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"holdfast/sinks"
	"holdfast/sinks/file"
	"holdfast/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Guarantee X1.
func TestSinkKeepsTheContract(t *testing.T) {
	sinktest.Run(t, harness(file.Options{}))
}

func TestSinkKeepsTheContractWhileItRotates(t *testing.T) {
	sinktest.Run(t, harness(file.Options{RotateSize: 100}))
}

func harness(o file.Options) sinktest.Harness {
	return sinktest.Harness{
		Start: func(tb testing.TB) sinktest.Receiver { return receiver(tb, o) },
		Lacks: map[sinktest.Fault]string{
			sinktest.Refuse:    "a file looks at no item",
			sinktest.Partial:   "a file takes a batch or does not",
			sinktest.Hang:      "no disk hangs when told to; see TestHangingDiskIsLeftToItself",
			sinktest.Dribble:   "no disk is slow when told to",
			sinktest.Reset:     "there is no connection",
			sinktest.WrongTLS:  "there is no TLS",
			sinktest.LineFeeds: "the book is kept in lines; see TestRawBodyIsWrittenAsItIs",
			sinktest.Secrets:   "nothing is configured that is secret",
		},
	}
}

// receiver is a directory, which is away while the receiver is stopped.
func receiver(tb testing.TB, o file.Options) sinktest.Receiver {
	base := tb.TempDir()
	dir, away := filepath.Join(base, "dir"), filepath.Join(base, "away")
	must(tb, os.Mkdir(dir, 0o700))
	o.Path = filepath.Join(dir, "out")
	return sinktest.Receiver{
		New: func() (sinks.Sink, error) { return file.New(o) },
		Book: func() [][]byte {
			lines := bytes.Split([]byte(all(tb, o.Path)), []byte("\n"))
			return lines[:len(lines)-1]
		},
		Stop: func() { must(tb, os.Rename(dir, away)) },
		Heal: func() { must(tb, os.Rename(away, dir)) },
	}
}

// all returns what is in the rotated files and the file, in order.
func all(tb testing.TB, path string) string {
	tb.Helper()
	names, err := filepath.Glob(path + ".*")
	must(tb, err)
	slices.Sort(names)
	var s strings.Builder
	for _, name := range append(names, path) {
		b, err := os.ReadFile(name)
		if !errors.Is(err, os.ErrNotExist) {
			must(tb, err)
		}
		s.Write(b)
	}
	return s.String()
}

func TestRawBodyIsWrittenAsItIs(t *testing.T) {
	s, path := newSink(t, file.Options{})
	deliver(t, s, "a\nb", "", "c\r")
	wantFile(t, path, "a\nb\n\nc\r\n")
}

func TestCloudEventsAreOnePerLine(t *testing.T) {
	s, path := newSink(t, file.Options{Format: sinks.CloudEvents, Source: "/gate"})
	items := sinktest.Items("a\nb", "{\n}")
	items[1].Attrs = nil
	must(t, s.Deliver(t.Context(), items))
	a, b := sinks.AppendCloudEvent(nil, &items[0], ""), sinks.AppendCloudEvent(nil, &items[1], "/gate")
	wantFile(t, path, string(a)+"\n"+string(b)+"\n")
}

func TestJSONIsAnEnvelopePerLine(t *testing.T) {
	s, path := newSink(t, file.Options{Format: sinks.JSON})
	items := sinktest.Items("a\nb", "c")
	must(t, s.Deliver(t.Context(), items))
	got, err := os.ReadFile(path)
	must(t, err)
	for i, line := range strings.Split(strings.TrimSuffix(string(got), "\n"), "\n") {
		if !json.Valid([]byte(line)) || line != string(sinks.AppendEnvelope(nil, &items[i])) {
			t.Errorf("line %d is %s", i, line)
		}
	}
}

// A disk is a real file with faults on order, and a list of what was asked of it.
type disk struct {
	*os.File
	ops      *[]string
	room     *int   // bytes until ENOSPC; nil: no end
	write    func() // called before each write
	sync     func() error
	truncate func() error
	syncDir  func() error
}

// A directory is what a disk's file is in.
type directory struct {
	*os.File
	d *disk
}

func (d *directory) Sync() error {
	*d.d.ops = append(*d.d.ops, "sync dir")
	if d.d.syncDir != nil {
		if err := d.d.syncDir(); err != nil {
			return err
		}
	}
	return d.File.Sync()
}

func (d *disk) Write(b []byte) (int, error) {
	*d.ops = append(*d.ops, "write")
	if d.write != nil {
		d.write()
	}
	if d.room == nil || len(b) <= *d.room {
		return d.File.Write(b)
	}
	n, err := d.File.Write(b[:*d.room])
	return n, cmpErr(err, syscall.ENOSPC)
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func (d *disk) Sync() error {
	*d.ops = append(*d.ops, "sync")
	if d.sync != nil {
		if err := d.sync(); err != nil {
			return err
		}
	}
	return d.File.Sync()
}

func (d *disk) Truncate(n int64) error {
	*d.ops = append(*d.ops, fmt.Sprint("truncate ", n))
	if d.truncate != nil {
		return d.truncate()
	}
	return d.File.Truncate(n)
}

func (d *disk) Close() error {
	*d.ops = append(*d.ops, "close")
	return d.File.Close()
}

// onDisk makes s use d for its file, opened anew each time.
func onDisk(s *file.Sink, d *disk) {
	d.ops = new([]string)
	file.OpenWith(s, func(path string, flag int) (file.Handle, error) {
		f, err := os.OpenFile(path, flag, 0o600)
		if flag == os.O_RDONLY {
			return &directory{f, d}, err
		}
		*d.ops = append(*d.ops, "open")
		now := *d
		now.File = f
		return &now, err
	})
}

// Guarantee X1.
func TestDoneMeansFsyncedUnlessSpelledOut(t *testing.T) {
	for _, c := range []struct {
		fsync file.Fsync
		want  []string
	}{
		{"", []string{"open", "sync", "sync dir", "write", "sync", "write", "sync", "sync", "close"}},
		{file.Always, []string{"open", "sync", "sync dir", "write", "sync", "write", "sync", "sync", "close"}},
		{file.Rotate, []string{"open", "write", "write", "sync", "close"}},
		{file.None, []string{"open", "write", "write", "close"}},
	} {
		s, _ := newSink(t, file.Options{Fsync: c.fsync})
		d := &disk{}
		onDisk(s, d)
		deliver(t, s, "a")
		deliver(t, s, "b")
		must(t, s.Close())
		if diff := cmp.Diff(c.want, *d.ops); diff != "" {
			t.Errorf("fsync %q (-want +got):\n%s", c.fsync, diff)
		}
	}
}

// Guarantee X1.
func TestTornLineIsCutAndNeverGlued(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	for name, c := range map[string]struct{ before, after string }{
		"empty":                   {"", ""},
		"whole":                   {"a\nb\n", "a\nb\n"},
		"torn":                    {"a\nb\nto", "a\nb\n"},
		"only torn":               {"to", ""},
		"zeros of a power cut":    {"a\n\x00\x00", "a\n"},
		"torn longer than a read": {"a\n" + long + long, "a\n"},
		"LF at the edge":          {"a\n" + long, "a\n"},
		"LF before the edge":      {"a\n" + long[1:], "a\n"},
		"LF after the edge":       {"a\n" + long + "x", "a\n"},
		"only torn and long":      {long + long + "x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, path := newSink(t, file.Options{})
			must(t, os.WriteFile(path, []byte(c.before), 0o600))
			deliver(t, s, "next")
			wantFile(t, path, c.after+"next\n")
		})
	}
}

// Guarantee X1.
func TestFullDiskIsUnavailableAndLeavesNoPartOfALine(t *testing.T) {
	for name, truncate := range map[string]func() error{
		"cut back at once":      nil,
		"cut back when it goes": failOnce(syscall.EIO),
	} {
		t.Run(name, func(t *testing.T) {
			s, path := newSink(t, file.Options{})
			d := &disk{room: new(100), truncate: truncate}
			onDisk(s, d)
			deliver(t, s, "before")
			*d.room = len("whole\nto")
			d.truncate = truncate
			for range 2 {
				wantUnavailable(t, s.Deliver(t.Context(), sinktest.Items("whole", "torn")), syscall.ENOSPC)
				d.truncate = nil
			}
			wantFile(t, path, "before\n")
			*d.room = 100
			deliver(t, s, "whole", "torn")
			wantFile(t, path, "before\nwhole\ntorn\n")
		})
	}
}

func failOnce(err error) func() error {
	failed := false
	return func() error {
		if failed {
			return nil
		}
		failed = true
		return err
	}
}

// After a failed fsync the kernel takes the pages for clean, so that a second one would say done and write nothing.
//
// Guarantee X1.
func TestFailedFsyncIsNotDoneAndWritesAnew(t *testing.T) {
	s, path := newSink(t, file.Options{})
	d := &disk{}
	onDisk(s, d)
	deliver(t, s, "before")
	syncs := 0
	d.sync = func() error {
		if syncs++; syncs == 2 { // the first one is of reopening
			return syscall.EIO
		}
		return nil
	}
	must(t, os.Rename(path, path+".moved")) // so that the file is opened with the fault
	wantUnavailable(t, s.Deliver(t.Context(), sinktest.Items("lost")), syscall.EIO)
	*d.ops = nil
	wantFile(t, path, "")
	deliver(t, s, "lost", "after")
	if diff := cmp.Diff([]string{"open", "sync", "sync dir", "write", "sync"}, *d.ops); diff != "" {
		t.Errorf("the next attempt (-want +got):\n%s", diff)
	}
	wantFile(t, path, "lost\nafter\n")
}

// Guarantee X1.
func TestRotationLosesNothing(t *testing.T) {
	for _, keep := range []int{0, 3} {
		s, path := newSink(t, file.Options{RotateSize: 64, Keep: keep})
		must(t, os.WriteFile(path+".7", nil, 0o600)) // not ours
		must(t, os.WriteFile(path+".old", nil, 0o600))
		want := ""
		for i := range 60 {
			body := fmt.Sprintf("item number %04d", i)
			want += body + "\n"
			deliver(t, s, body)
		}
		got, files := all(t, path), glob(t, path+".0*")
		if keep == 0 && (got != want || len(files) != 19) {
			t.Errorf("keep all: %d files\n%s", len(files), got)
		}
		if keep == 3 && (got != want[len(want)-4*3*17:] || len(files) != 3 || files[2] != path+".000019") {
			t.Errorf("keep 3: %v\n%s", files, got)
		}
		if other := len(glob(t, path+".7")) + len(glob(t, path+".old")); other != 2 {
			t.Errorf("%d of 2 files that are not ours are left", other)
		}
	}
}

// A rename is in the directory, which a power cut may forget: then the numbers would have a hole, or the file two names.
//
// Guarantee X1.
func TestRotationIsDurableBeforeTheNextLine(t *testing.T) {
	for fsync, want := range map[file.Fsync][]string{
		file.Always: {"sync", "close", "sync dir", "open", "sync", "sync dir", "write", "sync"},
		file.Rotate: {"sync", "close", "sync dir", "open", "write"},
		file.None:   {"close", "open", "write"},
	} {
		s, path := newSink(t, file.Options{RotateSize: 1, Fsync: fsync})
		d := &disk{}
		onDisk(s, d)
		deliver(t, s, "a")
		*d.ops = nil
		renamed := []bool{}
		d.syncDir = func() error {
			renamed = append(renamed, len(glob(t, path+".0*")) == 1)
			return nil
		}
		deliver(t, s, "b")
		if diff := cmp.Diff(want, *d.ops); diff != "" || slices.Contains(renamed, false) {
			t.Errorf("fsync %s, the rename was before %v (-want +got):\n%s", fsync, renamed, diff)
		}
	}
}

// Guarantee X1.
func TestRotationThatIsNotDurableIsNotDone(t *testing.T) {
	s, path := newSink(t, file.Options{RotateSize: 1})
	d := &disk{}
	onDisk(s, d)
	deliver(t, s, "a")
	d.syncDir = func() error { return syscall.EIO }
	for range 2 {
		wantUnavailable(t, s.Deliver(t.Context(), sinktest.Items("b")), syscall.EIO)
	}
	d.syncDir = nil
	deliver(t, s, "b")
	wantFile(t, path+".000001", "a\n")
	wantFile(t, path, "b\n")
}

// Guarantee X1.
func TestRotationSplitsNoDeliveryAndCountsOn(t *testing.T) {
	s, path := newSink(t, file.Options{RotateSize: 10})
	deliver(t, s, "longer than the limit", "and so is this")
	deliver(t, s, "next")
	must(t, os.Rename(path+".000001", path+".000999999"))
	must(t, os.Rename(path, path+".1000000"))
	// As after a crash between the rename and the new file.
	s2, err := file.New(file.Options{Path: path, RotateSize: 1})
	must(t, err)
	defer s2.Close()
	deliver(t, s2, "a")
	deliver(t, s2, "b")
	wantFile(t, path+".1000000", "next\n")
	wantFile(t, path+".1000001", "a\n")
	wantFile(t, path, "b\n")
}

// Guarantee X1.
func TestFileMovedFromOutsideLosesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(path string) error
		want string
	}{
		"renamed":         {func(p string) error { return os.Rename(p, p+".moved") }, "two\n"},
		"unlinked":        {os.Remove, "two\n"},
		"truncated":       {func(p string) error { return os.Truncate(p, 0) }, "two\n"},
		"truncated a bit": {func(p string) error { return os.Truncate(p, 2) }, "two\n"},
		"replaced":        {func(p string) error { return replace(p, "other\nto") }, "other\ntwo\n"},
		"appended to":     {func(p string) error { return extend(p, "other\nto") }, "one\nother\ntwo\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s, path := newSink(t, file.Options{})
			deliver(t, s, "one")
			must(t, c.do(path))
			deliver(t, s, "two")
			wantFile(t, path, c.want)
			if name == "renamed" {
				wantFile(t, path+".moved", "one\n")
			}
		})
	}
}

func replace(path, text string) error {
	return errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path))
}

func extend(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Guarantee X1.
func TestFileMovedDuringAWriteIsNotDone(t *testing.T) {
	for name, do := range map[string]func(path string) error{
		"renamed":  func(p string) error { return os.Rename(p, p+".moved") },
		"unlinked": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			s, path := newSink(t, file.Options{})
			d := &disk{write: func() { must(t, do(path)) }}
			onDisk(s, d)
			wantUnavailable(t, s.Deliver(t.Context(), sinktest.Items("one")), nil)
			d.write = nil
			deliver(t, s, "one")
			wantFile(t, path, "one\n")
		})
	}
}

func TestWhatIsNoFileIsUnavailable(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "missing", "out"), os.DevNull} {
		s, err := file.New(file.Options{Path: path})
		must(t, err)
		wantUnavailable(t, s.Deliver(t.Context(), sinktest.Items("a")), nil)
		must(t, s.Close())
	}
}

func TestHangingDiskIsLeftToItself(t *testing.T) {
	s, path := newSink(t, file.Options{})
	answers, closed := make(chan struct{}), make(chan struct{})
	hangs := &disk{sync: func() error { <-answers; return nil }}
	onDisk(s, hangs)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	items := sinktest.Items("one")
	for range 3 {
		wantUnavailable(t, s.Deliver(ctx, items), context.DeadlineExceeded)
	}
	copy(items[0].Body, "XXX")
	must(t, s.Close())
	close(answers)
	go func() {
		defer close(closed)
		for s.Deliver(context.Background(), nil) == nil {
		}
	}()
	<-closed
	wantFile(t, path, "one\n")
	if ops := *hangs.ops; ops[len(ops)-1] != "close" {
		t.Errorf("the file is still open: %v", ops)
	}
}

func TestOptionsAreRefusedByName(t *testing.T) {
	for want, o := range map[string]file.Options{
		"path: ":        {},
		"format: \"xml": {Path: "x", Format: "xml"},
		"format: \"cl":  {Path: "x", Format: sinks.CloudEventsBinary},
		"fsync: ":       {Path: "x", Fsync: "maybe"},
		"rotate.size: ": {Path: "x", RotateSize: -1},
		"rotate.keep: ": {Path: "x", Keep: -1},
	} {
		if _, err := file.New(o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("new: %v, want %q", err, want)
		}
	}
}

func newSink(t *testing.T, o file.Options) (*file.Sink, string) {
	t.Helper()
	o.Path = filepath.Join(t.TempDir(), "out.ndjson")
	s, err := file.New(o)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s, o.Path
}

func deliver(t *testing.T, s sinks.Sink, bodies ...string) {
	t.Helper()
	must(t, s.Deliver(t.Context(), sinktest.Items(bodies...)))
}

func wantUnavailable(t *testing.T, err, is error) {
	t.Helper()
	if e, ok := errors.AsType[*sinks.Error](err); !ok || e.Verdict != sinks.UnavailableVerdict || is != nil && !errors.Is(err, is) {
		t.Errorf("deliver: %v, want unavailable, %v", err, is)
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	if string(got) != want {
		t.Errorf("%s has %.100q, want %.100q", filepath.Base(path), got, want)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	must(t, err)
	return names
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
