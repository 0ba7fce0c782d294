package recovery_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/recovery"
	"holdfast/store"
)

// What a link in the log points to is not opened for writing, let alone cut or removed.
func TestLinksInTheLogAreRefused(t *testing.T) {
	for _, name := range []string{"00000001-0000000000000001.log", "spare.tmp", "00000001-0000000000000001.keys"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.append(1)
			b.close()
			path, elsewhere := filepath.Join(b.path("log"), name), filepath.Join(t.TempDir(), "elsewhere")
			if err := os.Rename(path, elsewhere); err != nil && os.WriteFile(elsewhere, []byte("mine"), 0o600) != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(elsewhere, path); err != nil {
				t.Fatal(err)
			}
			before, theirs := sums(t, b.dir), sums(t, filepath.Dir(elsewhere))
			_, _, err := recovery.Open(b.dir, small)
			if d, ok := errors.AsType[*store.DamageError](err); !ok || d.Path != path {
				t.Errorf("%v", err)
			}
			if diff := cmp.Diff(before, sums(t, b.dir)) + cmp.Diff(theirs, sums(t, filepath.Dir(elsewhere))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The pid is not written to what a link in place of the lock points to.
func TestLockThatIsALinkIsNotWrittenThrough(t *testing.T) {
	b := newBench(t)
	b.close()
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := errors.Join(os.Remove(b.path("LOCK")), os.WriteFile(elsewhere, []byte("something long that is mine"), 0o600), os.Symlink(elsewhere, b.path("LOCK"))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := recovery.Open(b.dir, small); err == nil {
		t.Error("it is opened")
	}
	if got, err := os.ReadFile(elsewhere); string(got) != "something long that is mine" {
		t.Errorf("%q, %v", got, err)
	}
}
