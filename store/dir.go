package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const lockName = "LOCK"

// A Dir is a data directory whose lock this process holds. It is safe for concurrent use.
type Dir struct {
	path string

	mu   sync.Mutex
	lock *os.File // guarded by mu; nil once closed
}

// LockDir takes the lock of an existing directory, without waiting. A *LockedError names the process that has it. The
// pid in DIR/LOCK is best effort: a full disk does not stop a start.
func LockDir(path string) (*Dir, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("lock directory: %w", err)
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("lock directory: %s is not a directory", path)
	}
	name := filepath.Join(path, lockName)
	if fi, err := os.Lstat(name); err == nil && fi.Mode()&fs.ModeSymlink != 0 { // the pid would be written to what it points to
		return nil, &DamageError{Path: name, Offset: -1, What: "it is a symbolic link"}
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock directory: %w", err)
	}
	held, err := lockFile(f)
	if held {
		err = &LockedError{Path: path, PID: readPID(f)}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock directory: %w", err), f.Close())
	}
	writePID(f)
	return &Dir{path: path, lock: f}, nil
}

// Path returns the directory as it was given.
func (d *Dir) Path() string { return d.path }

// Close gives the lock back. Further calls do nothing.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}

// readPID returns what the holder wrote, 0 where that is no number.
func readPID(f *os.File) int {
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// writePID leaves the old pid, which is a wrong hint and no more, where the disk takes no byte.
func writePID(f *os.File) {
	text := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := f.WriteAt([]byte(text), 0); err == nil {
		_ = f.Truncate(int64(len(text)))
	}
}
