package store

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLockHolder is no test: it is the process that TestSecondProcessNamesTheHolder starts.
func TestLockHolder(t *testing.T) {
	dir := os.Getenv("HOLDFAST_TEST_LOCK")
	if dir == "" {
		t.Skip("runs only as a child")
	}
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("locked\n")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent closes it
	_ = d.Close()
}

// Guarantee G5, in part: the second process is told who the first one is.
func TestSecondProcessNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	holder := exec.Command(os.Args[0], "-test.run=^TestLockHolder$")
	holder.Env = append(os.Environ(), "HOLDFAST_TEST_LOCK="+dir)
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the holder says %q, %v", line, err)
	}
	_, err = LockDir(dir)
	locked, ok := errors.AsType[*LockedError](err)
	if !ok || locked.PID != holder.Process.Pid || locked.Path != dir {
		t.Errorf("LockDir: %v, the holder is %d", err, holder.Process.Pid)
	}
	if err := errors.Join(stdin.Close(), holder.Wait()); err != nil {
		t.Fatal(err)
	}
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "error of the first Close", d.Close(), nil)
	equal(t, "error of the second Close", d.Close(), nil)
}

func TestLockKeepsOutTheSameProcessToo(t *testing.T) {
	dir := t.TempDir()
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = LockDir(dir)
	if locked, ok := errors.AsType[*LockedError](err); !ok || locked.PID != os.Getpid() {
		t.Fatalf("LockDir: %v", err)
	}
	equal(t, "error", d.Close(), nil)
}

// Guarantee G5, in part: nothing is written where no directory is.
func TestLockNeedsADirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(dir, "missing")} {
		if _, err := LockDir(path); err == nil {
			t.Errorf("LockDir(%s): no error", path)
		}
	}
	names, _ := os.ReadDir(dir)
	equal(t, "names", len(names), 1)
}

func TestPIDOfANonsenseLockIsZero(t *testing.T) {
	for text, want := range map[string]int{"": 0, "x\n": 0, "-4\n": 0, "12\n": 12, "99999999999999999999999": 0} {
		path := filepath.Join(t.TempDir(), lockName)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := readPID(f); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
		_ = f.Close()
	}
}
