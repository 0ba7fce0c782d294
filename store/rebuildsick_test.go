package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Guarantee G6, in part: what the disk does not give of the log while queues.db is made anew settles nothing before it
// was tried for long enough.
func TestARebuildDoesNotReadAroundWhatMayPass(t *testing.T) {
	t.Parallel()
	h := newHealingStore(t)
	path, n := h.Path(), int(h.Accepted(1).Items)
	equal(t, "error", h.Close(), nil)
	edit(t, filepath.Join(path, queuesName), func(b []byte) []byte {
		clear(b) // where a queue's pages survive, the log is not asked
		return b
	})
	disk := diskOps()
	sick := disk
	const bad = 8 << 10
	sick.pread = func(f *os.File, b []byte, off int64) (int, error) {
		if filepath.Base(f.Name()) == segmentName(2, h.sealed(1).seg.first)+".log" && off < bad+pageBytes && off+int64(len(b)) > bad {
			return 0, &os.PathError{Op: "read", Path: f.Name(), Err: syscall.EIO}
		}
		return disk.pread(f, b, off)
	}
	seen := func(giveUp bool, o ops) (int, error) {
		r, err := planRebuild(path, testUUID, giveUp, o)
		if err != nil {
			return 0, err
		}
		return r.queues[1].reseen, r.Close()
	}
	whole, err := seen(false, disk)
	equal(t, "error", err, nil)
	equal(t, "seen of the whole log", whole, n)
	if _, err := seen(false, sick); !errors.Is(err, syscall.EIO) || isDamage(err) {
		t.Errorf("not given up: %v", err)
	}
	part, err := seen(true, sick)
	equal(t, "error", err, nil)
	if part == 0 || part >= whole || part < whole-14 {
		t.Errorf("given up: %d of %d are seen", part, whole)
	}
}

// Guarantee G6, in part: nor is what the disk does not give of queues.db itself.
func TestARebuildDoesNotGiveUpTheQueuesAtOnce(t *testing.T) {
	t.Parallel()
	path, content := withBodies(t, 40, 9000)
	dir := filepath.Dir(path)
	clear(content[:2*os.Getpagesize()])
	equal(t, "error", os.WriteFile(path, content, 0o600), nil)
	disk := diskOps()
	sick := disk
	sick.pread = func(f *os.File, b []byte, off int64) (int, error) {
		if f.Name() == path && off <= 100<<10 && off+int64(len(b)) > 100<<10 {
			return 0, &os.PathError{Op: "read", Path: f.Name(), Err: syscall.EIO}
		}
		return disk.pread(f, b, off)
	}
	bodies := func(giveUp bool, o ops) (int, error) {
		r, err := planRebuild(dir, testUUID, giveUp, o)
		if err != nil {
			return 0, err
		}
		return r.Rebuilt().Bodies, r.Close()
	}
	whole, err := bodies(false, disk)
	equal(t, "error", err, nil)
	equal(t, "bodies of the whole file", whole, 40)
	if _, err := bodies(false, sick); !errors.Is(err, syscall.EIO) || isDamage(err) {
		t.Errorf("not given up: %v", err)
	}
	if part, err := bodies(true, sick); err != nil || part < 37 || part >= 40 {
		t.Errorf("given up: %d bodies, %v", part, err)
	}
}
