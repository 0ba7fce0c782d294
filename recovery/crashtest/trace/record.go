package trace

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// calls are those that strace shows: all that change a file or a name, so that Parse can refuse what it has no model of.
var calls = strings.Join([]string{
	"openat", "openat2", "open", "creat", "write", "writev", "pwrite64", "pwritev", "pwritev2", "truncate", "ftruncate", "fallocate",
	"fsync", "fdatasync", "sync_file_range", "msync", "mmap", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
	"symlinkat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "copy_file_range", "sendfile", "splice", "io_uring_setup",
}, ",")

// Record runs a command under strace until it ends, and leaves what strace saw in the file out. Exit codes other than 0
// are errors. Marks must be written to a file by single calls of write.
func Record(ctx context.Context, out string, argv ...string) error {
	args := append([]string{"-f", "-y", "-xx", "-s", "1000000", "-qq", "--seccomp-bpf", "-e", "signal=none", "-e", "trace=" + calls, "-o", out}, argv...)
	cmd := exec.CommandContext(ctx, "strace", args...)
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1") // no call is interrupted and begun again
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("strace %s: %w\n%s", strings.Join(argv, " "), err, said.Bytes())
	}
	return nil
}
