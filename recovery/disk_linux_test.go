package recovery_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"holdfast/recovery"
	"holdfast/recovery/crashtest"
	"holdfast/store"
)

// smallDisk mounts a small file system of its own for the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	mount := t.TempDir()
	crashtest.Require(t, "tmpfs", syscall.Mount("tmpfs", mount, "tmpfs", 0, "size="+size))
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	return mount
}

// Guarantee G5, in part: a directory that cannot be written is refused, and as it was after.
func TestReadOnlyDirectoryIsRefused(t *testing.T) {
	mount := smallDisk(t, "16m")
	b := newBench(t)
	b.append(2, 1)
	image := b.killed()
	if err := os.CopyFS(filepath.Join(mount, "data"), os.DirFS(image.dir)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", mount, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	before := sums(t, mount)
	for _, dir := range []string{"data", "empty"} {
		_, _, err := recovery.Open(filepath.Join(mount, dir), small)
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if diff := cmp.Diff(before, sums(t, mount)); diff != "" {
		t.Error(diff)
	}
}

// A start that cannot make the tail durable leaves the store as one that was not stopped in order.
func TestStartThatFailsOverTheTailIsRepeated(t *testing.T) {
	mount := smallDisk(t, "24m")
	b, from, to := torn(t)
	b.edit(b.segment(), func(content []byte) []byte { clear(content[from+512 : to]); return content })
	image := &bench{TB: t, dir: filepath.Join(mount, "data"), queue: b.queue, items: b.items}
	if err := os.CopyFS(image.dir, os.DirFS(b.dir)); err != nil {
		t.Fatal(err)
	}
	allocate(t, image.path("queues.db"), 8<<20) // as a running service has it
	fill(t, filepath.Join(mount, "filler"))
	_, _, err := recovery.Open(image.dir, recovery.Options{Store: store.Options{SegmentBytes: 1 << 20}})
	if err == nil {
		t.Fatal("there was room: the test proves nothing")
	}
	t.Log(err)
	if err := os.Remove(filepath.Join(mount, "filler")); err != nil {
		t.Fatal(err)
	}
	if r := image.open(); !r.Unclean || r.Kept != 1 || r.Unconfirmed != 3 {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(image.bodies(3), image.read()); diff != "" {
		t.Error(diff)
	}
	image.close()
}

// allocate gives a file room beyond its size.
func allocate(t *testing.T, path string, n int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, n); err != nil {
		t.Fatal(err)
	}
}

// fill leaves the disk no room for a segment.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for range 1 << 16 {
		if _, err := f.Write(page); err != nil {
			size, _ := f.Seek(0, io.SeekEnd)
			if err := f.Truncate(size - 300<<10); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the disk does not get full")
}
