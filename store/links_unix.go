//go:build unix

package store

import (
	"os"
	"syscall"
)

// Links returns how many names a file has. Any goroutine may call it.
func Links(fi os.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}
