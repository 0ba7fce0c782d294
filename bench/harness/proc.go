package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of the times in /proc, which Linux has fixed for all that is not the kernel itself.
const tick = 10 * time.Millisecond

// DieWithParent ends a child when this process is killed.
func DieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// ProcessCPU is the CPU time that a process has used, 0 where the system does not say. The threads tell it exactly, and the
// process in ticks, but with its threads that have ended: the larger one is nearer.
func ProcessCPU(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	v := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // the name before may hold blanks
	total := time.Duration(number(v, 11)+number(v, 12)) * tick
	exact := time.Duration(0)
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, t := range threads {
		b, _ := os.ReadFile(t)
		exact += time.Duration(number(strings.Fields(string(b)), 0))
	}
	return max(total, exact)
}

// busyCPU is the CPU time that the machine has used, without the handling of interrupts.
func busyCPU() time.Duration {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	v := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal
	return time.Duration(number(v, 1)+number(v, 2)+number(v, 3)+number(v, 8)) * tick
}

// ownCPU is what this process and its children that have ended used.
func ownCPU() (d time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			d += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return d
}

// Memory is a field of /proc/PID/status, in bytes: VmRSS, RssAnon.
func Memory(pid int, field string) int64 {
	return statusField(fmt.Sprintf("/proc/%d/status", pid), field) * 1024
}

// WakeUps is how often the threads of a process have gone to sleep of their own will.
func WakeUps(pid int) (n int64) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, t := range tasks {
		n += statusField(t, "voluntary_ctxt_switches")
	}
	return n
}

func statusField(path, field string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, _ := strings.Cut(s.Text(), ":"); name == field {
			return number(strings.Fields(value), 0)
		}
	}
	return 0
}

// A device is what the disk under a path has done since boot; zeros where the system does not say.
type device struct{ written, flushes int64 }

func deviceOf(path string) (d device) {
	var st unix.Stat_t
	f, err := os.Open("/proc/diskstats")
	if err != nil || unix.Stat(path, &st) != nil {
		return d
	}
	defer f.Close()
	major, minor := strconv.Itoa(int(unix.Major(st.Dev))), strconv.Itoa(int(unix.Minor(st.Dev)))
	for s := bufio.NewScanner(f); s.Scan(); {
		v := strings.Fields(s.Text())
		if len(v) > 9 && v[0] == major && v[1] == minor {
			return device{written: number(v, 9) * 512, flushes: number(v, 18)}
		}
	}
	return d
}

// number is a field as a number, 0 where there is none.
func number(fields []string, i int) int64 {
	if i >= len(fields) {
		return 0
	}
	n, _ := strconv.ParseInt(fields[i], 10, 64)
	return n
}

// DiskUse is what the files below a directory take, in bytes.
func DiskUse(dir string) (n int64) {
	filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(path, &st) == nil {
			n += st.Blocks * 512
		}
		return nil // what goes meanwhile takes nothing
	})
	return n
}

// OnMemory says whether a directory is on a file system without a disk.
func OnMemory(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	kind := uint32(st.Type) // the type of the field differs between platforms
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC
}
