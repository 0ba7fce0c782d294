package main

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// freeBytes is what is free where a directory is, or will be.
func freeBytes(dir string) int64 {
	fs, _ := statfs(dir)
	return int64(fs.Bavail) * int64(fs.Bsize) //nolint:unconvert // the types differ between platforms
}

// statfs looks at the nearest directory that exists.
func statfs(dir string) (fs unix.Statfs_t, ok bool) {
	for {
		if unix.Statfs(dir, &fs) == nil {
			return fs, true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return fs, false
		}
		dir = up
	}
}
