//go:build !linux

package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// fdatasync makes the bytes of f durable.
func fdatasync(f *os.File) error { return f.Sync() }

// allocate does nothing where there is no fallocate; a full disk is met by the write.
func allocate(f *os.File, off, n int64, keepSize bool) error {
	if keepSize {
		return nil
	}
	fi, err := f.Stat()
	if err != nil || fi.Size() >= off+n {
		return err
	}
	return f.Truncate(off + n)
}

// isFull reports whether err is a want of space.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG)
}

// renameNoReplace renames old to new within dir, and fails with fs.ErrExist when new is there.
func renameNoReplace(dir, old, new string) error {
	return renameChecked(filepath.Join(dir, old), filepath.Join(dir, new))
}

// swapNames lets two files have each other's names, where that can be done at once.
func swapNames(a, b string) error {
	return &os.LinkError{Op: "swap names", Old: a, New: b, Err: errors.ErrUnsupported}
}

// lockFile takes no lock here: bbolt's own on queues.db still keeps a second process out.
func lockFile(*os.File) (held bool, err error) { return false, nil }

// allocated returns the size, as blocks are not known.
func allocated(fi os.FileInfo) int64 { return fi.Size() }
