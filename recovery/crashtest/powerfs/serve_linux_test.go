//go:build !386 && !arm

package powerfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/recovery/crashtest"
	"holdfast/recovery/crashtest/powerfs"
)

func mount(t *testing.T) (*powerfs.Disk, string) {
	t.Helper()
	d, dir := powerfs.New(1), t.TempDir()
	unmount, err := powerfs.Mount(d, dir)
	crashtest.Require(t, "fuse", err)
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	return d, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEverythingThatIsNeededWorksThroughTheKernel(t *testing.T) {
	d, dir := mount(t)
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	f, err := os.OpenFile(filepath.Join(dir, "sub/a"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	must(t, err)
	defer f.Close()
	must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20))
	big := bytes.Repeat([]byte("0123456789abcdef"), 40<<10)
	_, err = f.WriteAt(big, 100)
	must(t, err)
	must(t, unix.Fdatasync(int(f.Fd())))
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	got, err := os.ReadFile(f.Name())
	must(t, err)
	if len(got) != len(big)+100 || !bytes.Equal(got[100:], big) {
		t.Errorf("read %d bytes", len(got))
	}
	var st unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &st))
	if st.Blocks*512 != 1<<20 {
		t.Errorf("%d blocks", st.Blocks)
	}
	must(t, os.Link(f.Name(), filepath.Join(dir, "sub/b")))
	if err := unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, filepath.Join(dir, "sub/b"), unix.RENAME_NOREPLACE); !errors.Is(err, unix.EEXIST) {
		t.Error(err)
	}
	must(t, os.Rename(f.Name(), filepath.Join(dir, "sub/c")))
	must(t, os.Remove(filepath.Join(dir, "sub/b")))
	must(t, f.Truncate(10))
	entries, err := os.ReadDir(filepath.Join(dir, "sub"))
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "c" {
		t.Errorf("%v", entries)
	}
	d.Limit(0)
	if _, err := f.WriteAt(big, 0); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	var fs unix.Statfs_t
	must(t, unix.Statfs(dir, &fs))
	if fs.Bavail != 0 {
		t.Errorf("%d blocks are free on a full disk", fs.Bavail)
	}
}

// A process of which the power went is not answered, whatever it had under way, and dies; what it had been told is there.
func TestPowerGoesUnderAProcess(t *testing.T) {
	for seed := range uint64(10) {
		d, dir := mount(t)
		script := `cd "$1"; mkdir d; sync .; cd d; i=0; while :; do i=$((i+1)); echo $i > f$i; sync f$i; sync .; echo $i; done`
		cmd := exec.Command("sh", "-c", script, "sh", dir)
		var out bytes.Buffer
		cmd.Stdout = &out
		cut := make(chan powerfs.Call, 1)
		d.Inject(powerfs.Fault{Op: powerfs.Sync, N: 5 + int(seed), Before: func(c powerfs.Call) {
			d.Freeze()
			cut <- c
		}})
		must(t, cmd.Start())
		select {
		case <-cut:
		case <-time.After(20 * time.Second):
			t.Fatal("it does not sync")
		}
		must(t, cmd.Process.Kill())
		d.Cut(seed, float64(seed%3)/2)
		_ = cmd.Wait()
		if _, err := os.Stat(filepath.Join(dir, "d")); !errors.Is(err, syscall.EIO) {
			t.Errorf("in the dark: %v", err)
		}
		d.On()
		last := bytes.Count(out.Bytes(), []byte("\n"))
		if last != 4+int(seed) {
			t.Errorf("it was told of %d", last)
		}
		for i := 1; i <= last; i++ {
			got, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("d/f%d", i)))
			if string(got) != fmt.Sprintln(i) || err != nil {
				t.Errorf("seed %d: file %d of %d: %q, %v", seed, i, last, got, err)
			}
		}
	}
}

func TestFaultsMeetTheCallsTheyAreFor(t *testing.T) {
	d, dir := mount(t)
	f, err := os.Create(filepath.Join(dir, "a.log"))
	must(t, err)
	defer f.Close()
	other, err := os.Create(filepath.Join(dir, "other"))
	must(t, err)
	defer other.Close()
	d.Inject(powerfs.Fault{Op: powerfs.Sync, Name: "*.log", N: 2, Err: syscall.EIO})
	d.Inject(powerfs.Fault{Op: powerfs.Rename, Forever: true, Err: syscall.EIO})
	for i, want := range []error{nil, syscall.EIO, nil} {
		must(t, other.Sync())
		_, err := f.WriteAt([]byte{byte(i)}, 0)
		must(t, err)
		if err := f.Sync(); !errors.Is(err, want) {
			t.Errorf("sync %d: %v, want %v", i, err, want)
		}
		if err := os.Rename(f.Name(), f.Name()+"x"); !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
	}
	if hits := d.Hits(); len(hits) != 4 {
		t.Errorf("%v", hits)
	}
	d.Heal()
	must(t, os.Rename(f.Name(), f.Name()+"x"))
	hang := make(chan struct{})
	d.Inject(powerfs.Fault{Op: powerfs.Sync, Hang: hang})
	done := make(chan error, 1)
	go func() { done <- f.Sync() }()
	select {
	case <-done:
		t.Error("a sync that hangs has returned")
	case <-time.After(50 * time.Millisecond):
	}
	close(hang)
	must(t, <-done)
}

func TestStartedProcessesDoNotHoldTheDisk(t *testing.T) {
	mount(t)
	out, err := exec.Command("ls", "-l", "/proc/self/fd/").CombinedOutput()
	must(t, err)
	if bytes.Contains(out, []byte("/dev/fuse")) {
		t.Errorf("%s", out)
	}
}

// What was written and flushed is read, by whoever reads while the next is written: the kernel must not keep, of a page,
// what it had asked for before the write.
func TestWhatWasFlushedIsReadWhileTheNextIsWritten(t *testing.T) {
	t.Parallel()
	_, dir := mount(t)
	f, err := os.OpenFile(filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer f.Close()
	const size = 4 << 20
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, size))
	var flushed atomic.Int64
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for at := int64(0); at < size; {
				b := make([]byte, min(flushed.Load()-at, 64<<10))
				if _, err := f.ReadAt(b, at); err != nil {
					t.Error(err)
					return
				}
				if i := bytes.IndexByte(b, 0); i >= 0 {
					t.Errorf("byte %d was flushed, and is read as zero", at+int64(i))
					return
				}
				at += int64(len(b))
			}
		})
	}
	for at := int64(0); at < size; {
		b := bytes.Repeat([]byte{'x'}, int(min(size-at, 100+at%3000)))
		_, err := f.WriteAt(b, at)
		must(t, err)
		must(t, unix.Fdatasync(int(f.Fd())))
		at += int64(len(b))
		flushed.Store(at)
	}
	readers.Wait()
}
