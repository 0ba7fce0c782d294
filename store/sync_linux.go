package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// fdatasync makes the bytes of f, and the size that is needed to read them, durable. Any error is final: after one, the
// page cache may show what the disk does not have.
func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// allocate takes disk blocks for n bytes of f from off on, so that later writes there cannot meet a full disk. Unless
// keepSize is set the file grows to off+n and reads zeros there. A file system that cannot allocate is no error, and
// nothing happened.
func allocate(f *os.File, off, n int64, keepSize bool) error {
	var mode uint32
	if keepSize {
		mode = unix.FALLOC_FL_KEEP_SIZE
	}
	for {
		err := unix.Fallocate(int(f.Fd()), mode, off, n)
		switch {
		case err == nil, errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
	}
}

// isFull reports whether err is a want of space: no blocks, no quota, or the limit of a file's size.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// renameNoReplace renames old to new within dir, and fails with fs.ErrExist when new is there. Where the file system
// has no such rename, a look and a plain rename do: the directory's lock keeps others away.
func renameNoReplace(dir, old, new string) error {
	from, to := filepath.Join(dir, old), filepath.Join(dir, new)
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		return renameChecked(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// swapNames lets two files have each other's names, at once. Not every file system can.
func swapNames(a, b string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "swap names", Old: a, New: b, Err: err}
	}
	return nil
}

// lockFile takes the exclusive lock of f without waiting; held reports that somebody else has it.
func lockFile(f *os.File) (held bool, err error) {
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// allocated returns the bytes of disk that a file takes, which is more than its size when blocks are allocated ahead.
func allocated(fi os.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return int64(st.Blocks) * 512
	}
	return fi.Size()
}
