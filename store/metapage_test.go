package store

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// damageMeta turns over one bit of a meta page.
func damageMeta(t testing.TB, path string, meta int) {
	t.Helper()
	changeMeta(t, path, meta, func(b []byte) { b[boltPageHeader+48] ^= 1 })
}

func changeMeta(t testing.TB, path string, meta int, change func(page []byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(b[meta*os.Getpagesize():])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMetasAreOneApartAfterEveryCommit(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	for range 5 {
		report, err := CheckMetas(q.path)
		equal(t, "error", err, nil)
		equal(t, "page size", report.PageSize, os.Getpagesize())
		if !report.OK() {
			t.Fatalf("%+v", report)
		}
		mustCommit(t, q, Change{})
	}
}

func TestADamagedMetaIsSeen(t *testing.T) {
	for meta := range 2 {
		path := filepath.Join(newQueuesDir(t), queuesName)
		damageMeta(t, path, meta)
		report, err := CheckMetas(path)
		equal(t, "error", err, nil)
		if report.Valid[meta] || !report.Valid[1-meta] || report.OK() || report.PageSize != os.Getpagesize() {
			t.Errorf("meta %d damaged: %+v", meta, report)
		}
		before, _ := os.ReadFile(path)
		equal(t, "error", RewriteMetas(path), nil)
		after, _ := os.ReadFile(path)
		equal(t, "bytes as before", bytes.Equal(before, after), true)
	}
}

func TestMetasTwoApartAreSeen(t *testing.T) {
	path := filepath.Join(newQueuesDir(t), queuesName)
	report, _ := CheckMetas(path)
	newest := 0
	if report.TxID[1] > report.TxID[0] {
		newest = 1
	}
	changeMeta(t, path, newest, func(page []byte) {
		m := page[boltPageHeader:]
		binary.NativeEndian.PutUint64(m[48:], report.TxID[newest]+2)
		h := fnv.New64a()
		h.Write(m[:56])
		binary.NativeEndian.PutUint64(m[56:], h.Sum64())
	})
	report, err := CheckMetas(path)
	equal(t, "error", err, nil)
	if !report.Valid[0] || !report.Valid[1] || report.OK() {
		t.Fatalf("%+v", report)
	}
}

func TestBothMetasDamagedIsDamage(t *testing.T) {
	dir := newQueuesDir(t)
	path := filepath.Join(dir, queuesName)
	damageMeta(t, path, 0)
	damageMeta(t, path, 1)
	report, err := CheckMetas(path)
	equal(t, "error", err, nil)
	equal(t, "report", report, MetaReport{})
	if RewriteMetas(path) == nil {
		t.Error("RewriteMetas: no error")
	}
	mustBeDamage(t, dir)
}

func TestRewriteMetasKeepsEveryByte(t *testing.T) {
	for commits := range 3 {
		dir := newQueuesDir(t)
		q := openTestQueues(t, dir)
		for range commits {
			mustCommit(t, q, Change{QueueTime: 5})
		}
		equal(t, "error", q.close(), nil)
		before, _ := os.ReadFile(q.path)
		equal(t, "error", RewriteMetas(q.path), nil)
		after, _ := os.ReadFile(q.path)
		equal(t, "bytes as before", bytes.Equal(before, after), true)
		openTestQueues(t, dir)
	}
}

func TestMetasOfOtherPageSizesAreFound(t *testing.T) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		path := filepath.Join(t.TempDir(), "other.db")
		options := boltOptions()
		options.PageSize = size
		db, err := bolt.Open(path, 0o600, options)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "error", db.Close(), nil)
		report, err := CheckMetas(path)
		equal(t, "error", err, nil)
		equal(t, "report", report, MetaReport{PageSize: size, Valid: [2]bool{true, true}, TxID: [2]uint64{0, 1}})
		damageMeta(t, path, 0)
		report, _ = CheckMetas(path)
		equal(t, "report", report, MetaReport{PageSize: size, Valid: [2]bool{false, true}, TxID: [2]uint64{0, 1}})
	}
}
