package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A Machine is what the figures were measured on.
type Machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     int64  `json:"memory_bytes"`
	Kernel     string `json:"kernel"`
	Filesystem string `json:"filesystem"`
	Go         string `json:"go"`
	Commit     string `json:"commit,omitempty"` // of the working directory
}

// ThisMachine is where the session measures.
func (s *Session) ThisMachine() Machine {
	m := Machine{
		CPU: cpuModel(), Cores: runtime.NumCPU(), Memory: statusField("/proc/meminfo", "MemTotal") * 1024,
		Kernel: kernel(), Filesystem: filesystem(s.Dir), Go: runtime.Version(),
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	return m
}

// String is for a heading.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.0f GiB, %s, %s, %s, commit %s", m.CPU, m.Cores, float64(m.Memory)/(1<<30), m.Kernel, m.Filesystem, m.Go, m.Commit)
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return runtime.GOOS
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// filesystem is the type of the file system and its device, as the table of mounts has them.
func filesystem(dir string) (found string) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	b, _ := os.ReadFile("/proc/self/mounts")
	longest := 0
	for line := range strings.Lines(string(b)) {
		v := strings.Fields(line)
		if len(v) < 3 || len(v[1]) < longest {
			continue
		}
		if rel, err := filepath.Rel(v[1], path); err == nil && filepath.IsLocal(rel) {
			longest, found = len(v[1]), v[2]+" on "+v[0]
		}
	}
	return found
}
