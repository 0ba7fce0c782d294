package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestCreateInterruptedAtEachStepWorksAgain(t *testing.T) {
	for n := range len(createSteps("", testUUID)) {
		dir := t.TempDir()
		for _, step := range createSteps(dir, testUUID)[:n] {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		d, err := LockDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		found, err := Exists(dir)
		equal(t, "error", err, nil)
		if renamed := n == len(createSteps("", testUUID))-1; found != renamed {
			t.Fatalf("after %d steps: exists %v", n, found)
		}
		if !found {
			equal(t, "error of Create", Create(d, testUUID), nil)
		}
		if err := Create(d, testUUID); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("Create where a store is: %v", err)
		}
		equal(t, "error", d.Close(), nil)
		q := openTestQueues(t, dir)
		equal(t, "uuid", q.uuid, testUUID)
		report, err := CheckMetas(q.path)
		equal(t, "error", err, nil)
		equal(t, "metas", report.OK(), true)
	}
}

// A torn queues.db under its temporary name is what a power cut in bbolt's own creation leaves.
func TestCreateReplacesATornFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, queuesName+tmpSuffix), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "error", Create(d, testUUID), nil)
	equal(t, "error", d.Close(), nil)
	openTestQueues(t, dir)
}

func TestBothMetaPagesOfANewStoreShowTheWhole(t *testing.T) {
	for meta := range 2 {
		dir := newQueuesDir(t)
		damageMeta(t, filepath.Join(dir, queuesName), meta)
		equal(t, "uuid", openTestQueues(t, dir).uuid, testUUID)
	}
}

func TestALostQueuesFileIsDamage(t *testing.T) {
	dir := newQueuesDir(t)
	if err := os.WriteFile(filepath.Join(dir, logDir, "00000001-0000000000000001.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, queuesName)); err != nil {
		t.Fatal(err)
	}
	found, err := Exists(dir)
	equal(t, "exists", found && err == nil, true)
	_, err = openQueues(dir)
	if _, ok := errors.AsType[*DamageError](err); !ok {
		t.Fatalf("open: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, queuesName)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open made a file: %v", err)
	}
}
