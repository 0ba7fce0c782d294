package harness

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Trace counts the system calls of processes while do runs, by name; nil where strace is missing or may not attach, and do
// has run all the same.
func Trace(ctx context.Context, pids []int, do func() error) (calls map[string]int, err error) {
	dir, err := os.MkdirTemp("", "holdfast-strace-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "calls")
	args := []string{"-f", "-c", "-o", file}
	for _, pid := range pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	strace := exec.CommandContext(ctx, "strace", args...)
	strace.SysProcAttr = DieWithParent()
	said, err := strace.StderrPipe()
	if err != nil {
		return nil, err
	}
	if strace.Start() != nil {
		return nil, do()
	}
	lines := bufio.NewScanner(said)
	attached := true
	for range pids { // it says so of each
		attached = attached && lines.Scan() && strings.Contains(lines.Text(), "attached")
	}
	go func() {
		for lines.Scan() { // it must be able to go on saying that threads come and go
		}
	}()
	err = do()
	if attached {
		err = errors.Join(err, strace.Process.Signal(os.Interrupt))
	}
	if strace.Wait(); err != nil || !attached { // it ends by the signal that it got
		return nil, err
	}
	b, err := os.ReadFile(file)
	return parseTrace(string(b)), err
}

// parseTrace reads the table of strace -c: a line has the calls in its fourth column and the name in its last one.
func parseTrace(table string) map[string]int {
	calls := map[string]int{}
	for line := range strings.Lines(table) {
		v := strings.Fields(line)
		if len(v) < 5 || v[len(v)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(v[3]); err == nil {
			calls[v[len(v)-1]] = n
		}
	}
	return calls
}

// ListCalls is calls for people, the most frequent ones first.
func ListCalls(calls map[string]int) string {
	names := slices.SortedFunc(maps.Keys(calls), func(a, b string) int {
		return cmp.Or(calls[b]-calls[a], cmp.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, calls[name])
	}
	return strings.Join(names, ", ")
}
