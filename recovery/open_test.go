package recovery_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/recovery"
	"holdfast/store"
)

func TestDirectoryIsMadeWithItsParents(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "data")
	out, r, err := logged(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Created || r.Unclean || r.Took <= 0 {
		t.Errorf("report %+v", r)
	}
	if !strings.Contains(out.String(), `"level":"INFO","msg":"store created"`) {
		t.Error(out)
	}
	for _, made := range []string{dir, filepath.Dir(dir), filepath.Join(dir, "log")} {
		if info, err := os.Stat(made); err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", made, info.Mode(), err)
		}
	}
	out, r, err = logged(dir)
	if err != nil || r.Created || r.Unclean || !strings.Contains(out.String(), `"level":"INFO","msg":"store opened"`) {
		t.Errorf("opened again: %+v, %v, %s", r, err, out)
	}
}

// Guarantee G5, in part: a file where the directory should be.
func TestFileInPlaceOfTheDirectoryIsNamedAndLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := sums(t, filepath.Dir(file))
	for _, path := range []string{file, filepath.Join(file, "below")} {
		_, _, err := recovery.Open(path, recovery.Options{})
		notDir, ok := errors.AsType[*recovery.NotDirError](err)
		if !ok || notDir.Path != file || err.Error() != file+" is not a directory" {
			t.Errorf("%s: %v", path, err)
		}
	}
	if diff := cmp.Diff(before, sums(t, filepath.Dir(file))); diff != "" {
		t.Error(diff)
	}
}

func TestLinkToTheDirectoryIsFollowedOnce(t *testing.T) {
	b := newBench(t)
	b.append(3)
	b.close()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(b.dir, link); err != nil {
		t.Fatal(err)
	}
	st, r, err := recovery.Open(link, small)
	if err != nil || r.Created {
		t.Fatal(r, err)
	}
	defer st.Close()
	if st.Path() != b.dir {
		t.Errorf("it is at %s", st.Path())
	}
}

func TestLinksInsideAreRefused(t *testing.T) {
	for _, name := range []string{"LOCK", "queues.db", "log", "quarantine"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.append(1)
			b.close()
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			if err := os.Rename(b.path(name), elsewhere); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := os.Symlink(elsewhere, b.path(name)); err != nil {
				t.Fatal(err)
			}
			before := sums(t, b.dir)
			_, _, err := recovery.Open(b.dir, small)
			if d, ok := errors.AsType[*store.DamageError](err); !ok || d.Path != b.path(name) {
				t.Errorf("%v", err)
			}
			if diff := cmp.Diff(before, sums(t, b.dir)); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Lstat(elsewhere); name == "quarantine" && err == nil {
				t.Error("something was made behind the link")
			}
		})
	}
}

// Guarantee G5, in part: a second process fails at once, and names the first.
func TestSecondProcessIsToldWhoHoldsTheDirectory(t *testing.T) {
	b := newBench(t)
	b.close()
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holdVariable+"="+b.dir)
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("%q, %v", line, err)
	}
	before := sums(t, b.dir)
	_, _, err = recovery.Open(b.dir, small)
	if held, ok := errors.AsType[*store.LockedError](err); !ok || held.PID != holder.Process.Pid {
		t.Errorf("%v, want one that names process %d", err, holder.Process.Pid)
	}
	if diff := cmp.Diff(before, sums(t, b.dir)); diff != "" {
		t.Error(diff)
	}
	in.Close()
	if err := holder.Wait(); err != nil {
		t.Fatal(err)
	}
	b.open()
}

func TestSweepTakesOnlyOurOwnTemporaryFiles(t *testing.T) {
	b := newBench(t)
	b.append(1)
	b.close()
	ours := []string{"queues.db.tmp", "log/spare.tmp", "log/00000009-0000000000000009.log.gone.tmp", "log/00000009-0000000000000009.keys.tmp"}
	theirs := []string{"notes.tmp", "log/mine.tmp", "queues.db.bak", "log/spare", "spare.tmp.keep"}
	for _, name := range append(ours, theirs...) {
		if err := os.WriteFile(b.path(name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := b.open(); r.Swept != len(ours) {
		t.Errorf("%d swept", r.Swept)
	}
	for _, name := range ours {
		if _, err := os.Lstat(b.path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range theirs {
		if _, err := os.Lstat(b.path(name)); err != nil {
			t.Error(err)
		}
	}
}

func TestReportIsReadByItsJSON(t *testing.T) {
	text, err := json.Marshal(recovery.Report{Unclean: true, Kept: 3, Unconfirmed: 2, Swept: 1, Took: 5})
	const want = `{"created":false,"unclean":true,"kept":3,"unconfirmed":2,"lost":0,"rolled_back":false,"swept":1,"took_ns":5}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}
