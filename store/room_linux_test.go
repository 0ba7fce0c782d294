package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of so many bytes, and says so loudly where that is not allowed.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		if strings.Contains(os.Getenv("HOLDFAST_REQUIRE"), "mount") {
			t.Fatalf("mount: %v, and HOLDFAST_REQUIRE wants it", err)
		}
		t.Skipf("NOT PROVEN HERE: a full disk needs a mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fillDisk takes every byte that is left.
func fillDisk(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "other tenant")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1 << 20; n > 0; {
		if _, err := f.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
	_ = f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// Guarantee B5, in part: on a full disk marks, dead letters and deletes go on; what does not fit changes nothing, and
// once there is room it goes on by itself.
func TestMarksGoOnWhileTheDiskIsFull(t *testing.T) {
	dir := smallDisk(t, 16<<20)
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "error", errors.Join(Create(d, testUUID), d.Close()), nil)
	q := openTestQueues(t, dir)
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}})
	free := fillDisk(t, dir)
	for i := range uint64(500) {
		mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, Cursor: i, Marks: []uint64{i + 1, i + 5000}, Rows: []Row{{Seq: i, State: RowDead}}}}})
	}
	rows := bigRows(1000, 1000)
	full := 0
	for ; full < 100; full++ {
		_, err = q.commit(&Change{Queues: []QueueChange{{Number: 1, Cursor: 600 + uint64(full), Rows: rows}}}, logView{})
		if err != nil {
			break
		}
		for i := range rows {
			rows[i].Seq += 1000
		}
	}
	if _, fatal := errors.AsType[*FatalError](err); fatal || !errors.Is(err, ErrFull) {
		t.Fatalf("commit %d: %v", full, err)
	}
	last := uint64(600 + full - 1) // the first attempt may be the one that does not fit
	if full == 0 {
		last = 499
	}
	s, err := q.loadQueue(1)
	equal(t, "error", err, nil)
	equal(t, "cursor in the file and in memory", [2]uint64{s.Cursor, q.lowestCursor()}, [2]uint64{last, last})
	equal(t, "rows in memory", q.owedBetween(0, 1e6).Items, int64(500+1000*full))
	_, found, _ := q.row(1, rows[0].Seq)
	equal(t, "a row of the change that did not fit", found, false)
	mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, Cursor: 701, RowsGone: []uint64{1, 2, 3}}}})
	free()
	mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, Cursor: 702, Rows: rows}}})
	q = reopenTestQueues(t, q)
	_, found, err = q.row(1, rows[0].Seq)
	equal(t, "found", found && err == nil, true)
}

// A store opens on a full disk.
func TestQueuesOpenOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, 2<<20)
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "error", errors.Join(Create(d, testUUID), d.Close()), nil)
	fillDisk(t, dir)
	d, err = LockDir(dir)
	equal(t, "error of LockDir", err, nil)
	defer d.Close()
	openTestQueues(t, dir)
}

func TestWantOfSpaceIsToldFromAFailedFlush(t *testing.T) {
	for _, c := range []struct {
		err  error
		full bool
	}{
		{&fs.PathError{Op: "write", Err: syscall.ENOSPC}, true},
		{&fs.PathError{Op: "write", Err: syscall.EDQUOT}, true},
		{&fs.PathError{Op: "write", Err: syscall.EIO}, false},
		{&fs.PathError{Op: "sync", Err: syscall.ENOSPC}, false},
		{syscall.ENOSPC, false}, // bbolt's fdatasync
		{fmt.Errorf("file resize error: %s", &fs.PathError{Op: "truncate", Path: "x", Err: syscall.EFBIG}), true},
		{fmt.Errorf("file resize error: %s", &fs.PathError{Op: "truncate", Path: "x", Err: syscall.ENOSPC}), true},
		{fmt.Errorf("file resize error: %s", &fs.PathError{Op: "truncate", Path: "x", Err: syscall.EIO}), false},
		{fmt.Errorf("file sync error: %s", &fs.PathError{Op: "sync", Path: "x", Err: syscall.ENOSPC}), false},
		{fmt.Errorf("mmap allocate error: %s", syscall.ENOMEM), false},
	} {
		if got := fullWrite(c.err); got != c.full {
			t.Errorf("%v: %v, want %v", c.err, got, c.full)
		}
	}
}

// A commit that fails, or panics, in any other way is the last one.
func TestAFailedCommitIsFatalForGood(t *testing.T) {
	for name, fill := range map[string]func(*transaction) error{
		"error": func(*transaction) error { return errUncertain{syscall.EIO} },
		"panic": func(*transaction) error { panic("assertion failed") },
	} {
		q := openTestQueues(t, newQueuesDir(t))
		_, first := q.update(0, fill)
		_, second := q.commit(&Change{}, logView{})
		a, ok1 := errors.AsType[*FatalError](first)
		b, ok2 := errors.AsType[*FatalError](second)
		if !ok1 || !ok2 || a != b {
			t.Errorf("%s: %v, then %v", name, first, second)
		}
		equal(t, "error", q.close(), nil)
		q = openTestQueues(t, filepath.Dir(q.path))
		mustCommit(t, q, Change{})
	}
}

// Guarantees B5, G1, in part: what a killed process had ahead is of use to the next one, on a disk that is full.
func TestRoomAheadOutlivesAKillOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, 16<<20)
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "error", errors.Join(Create(d, testUUID), d.Close()), nil)
	q := openTestQueues(t, dir)
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}, Queues: []QueueChange{{Number: 1, Rows: bigRows(1, 1000)}}})
	fillDisk(t, dir)
	for i := range uint64(300) {
		if i%50 == 0 {
			q = reopenTestQueues(t, q)
		}
		mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, Cursor: i, Marks: []uint64{i + 1, i + 5000}, Rows: []Row{{Seq: i, State: RowDead}}}}})
	}
}
