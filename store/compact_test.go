package store

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// slackStore is a full store of which most has gone again.
func slackStore(t testing.TB) string {
	dir := fullStore(t)
	q := openTestQueues(t, dir)
	rows := bigRows(10000, 10000)
	var seqs []uint64
	for _, r := range rows {
		seqs = append(seqs, r.Seq)
	}
	mustCommit(t, q, Change{Queues: []QueueChange{{Number: 2, Cursor: 5000, Rows: rows}}})
	mustCommit(t, q, Change{Queues: []QueueChange{{Number: 2, Cursor: 5000, RowsGone: seqs}}})
	equal(t, "error", q.close(), nil)
	return dir
}

func TestCompactGivesFreePagesBackAndChangesNothing(t *testing.T) {
	dir := slackStore(t)
	q := openTestQueues(t, dir)
	want, err := dump(q)
	equal(t, "error", err, nil)
	before := q.used.Load()
	if free := q.free.Load(); free < before/2 || free > before {
		t.Fatalf("%d bytes of %d are free", free, before)
	}
	equal(t, "error", q.compact(), nil)
	if free, used := q.free.Load(), q.used.Load(); free > 1<<20 || used > before/2 {
		t.Fatalf("%d bytes of %d are free, after %d bytes", free, used, before)
	}
	if taken := q.taken.Load(); taken < q.used.Load()+queuesAhead/2 || taken > q.used.Load()+2*queuesAhead {
		t.Fatalf("%d bytes are taken and %d used", taken, q.used.Load())
	}
	got, err := dump(q)
	equal(t, "error", err, nil)
	equal(t, "what is read", got, want)
	equal(t, "error", q.compact(), nil) // again, at once
	metas, err := CheckMetas(q.path)
	equal(t, "error", err, nil)
	equal(t, "metas", metas.OK(), true)

	// Either meta page shows the whole.
	for page := range int64(2) {
		image := t.TempDir()
		equal(t, "error", os.CopyFS(image, os.DirFS(dir)), nil)
		edit(t, filepath.Join(image, queuesName), func(b []byte) []byte { clear(b[page*int64(metas.PageSize)+16:][:64]); return b })
		got, err := dumpDir(t, image)
		equal(t, "error", err, nil)
		equal(t, "what one meta page shows", got, want)
	}

	// What is committed afterwards goes to the new file.
	mustCommit(t, q, Change{QueueTime: 99, Queues: []QueueChange{{Number: 1, Cursor: 7777}}})
	q = reopenTestQueues(t, q)
	s, err := q.loadQueue(1)
	equal(t, "error", err, nil)
	equal(t, "cursor", s.Cursor, uint64(7777))
	equal(t, "queue time", q.meta.QueueTime, int64(99))
}

// Guarantee G1, in part: a crash anywhere in a compaction leaves a whole file.
func TestACrashAnywhereInACompactionLeavesAWholeFile(t *testing.T) {
	dir := slackStore(t)
	want, err := dumpDir(t, dir)
	equal(t, "error", err, nil)
	n := len((&compaction{q: &queues{}}).steps())
	for done := range n + 1 {
		q := openTestQueues(t, dir)
		c := compaction{q: q, tmp: q.path + tmpSuffix}
		for _, step := range c.steps()[:done] {
			equal(t, "error", step(), nil)
		}
		image := t.TempDir()
		equal(t, "error", os.CopyFS(image, os.DirFS(dir)), nil)
		if !c.swapped {
			equal(t, "error", c.close(), nil)
		}
		equal(t, "error", q.close(), nil)
		for range 2 {
			got, err := dumpDir(t, image)
			equal(t, "error", err, nil)
			equal(t, "what is read", got, want)
			metas, err := CheckMetas(filepath.Join(image, queuesName))
			equal(t, "error", err, nil)
			equal(t, "metas", metas.OK(), true)
			again := openTestQueues(t, image) // and what a crash left does not stop the next one
			equal(t, "error", again.compact(), nil)
			equal(t, "error", again.close(), nil)
		}
		equal(t, "error", removeIfThere(c.tmp), nil)
	}
}

// Guarantee B5, in part: what does not fit leaves the old file as it is, and commits go on.
func TestCompactOnAFullDiskLeavesTheOldFile(t *testing.T) {
	dir := smallDisk(t, 80<<20)
	equal(t, "error", os.CopyFS(dir, os.DirFS(slackStore(t))), nil)
	q := openTestQueues(t, dir)
	want, err := dump(q)
	equal(t, "error", err, nil)
	free := fillDisk(t, dir)
	err = q.compact()
	if _, fatal := errors.AsType[*FatalError](err); fatal || !errors.Is(err, ErrFull) {
		t.Fatalf("compact: %v", err)
	}
	_, err = os.Stat(q.path + tmpSuffix)
	equal(t, "nothing is left", errors.Is(err, os.ErrNotExist), true)
	got, err := dump(q)
	equal(t, "error", err, nil)
	equal(t, "what is read", got, want)
	mustCommit(t, q, Change{})
	free()
	equal(t, "error", q.compact(), nil)
	q = reopenTestQueues(t, q)
	got, err = dump(q)
	equal(t, "error", err, nil)
	equal(t, "what is read", got, want)
}

// Every step that fails before the rename leaves the old file; after it nobody knows, and nothing is committed any more.
func TestAFailedCompactionIsFatalOnlyBehindTheRename(t *testing.T) {
	dir := slackStore(t)
	for at := range len((&compaction{q: &queues{}}).steps()) - 1 {
		q := openTestQueues(t, dir)
		c := compaction{q: q, tmp: q.path + tmpSuffix}
		for _, step := range c.steps()[:at] {
			equal(t, "error", step(), nil)
		}
		err := c.abandon(os.ErrInvalid)
		_, fatal := errors.AsType[*FatalError](err)
		equal(t, "fatal", fatal, at > 3)
		_, err = q.commit(&Change{}, logView{})
		equal(t, "committed afterwards", err == nil, at <= 3)
		equal(t, "error", q.close(), nil)
	}
}

// Readers go on while the file is replaced under them.
func TestReadersDoNotNoticeACompaction(t *testing.T) {
	q := openTestQueues(t, slackStore(t))
	want, err := q.rows(1, 0, 50, nil)
	equal(t, "error", err, nil)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got, err := q.rows(1, 0, 50, nil)
				if err != nil || len(got) != len(want) {
					t.Errorf("%d rows, %v", len(got), err)
					return
				}
				_ = q.owedBetween(0, 1<<40)
			}
		})
	}
	for i := range uint64(5) {
		if err := q.compact(); err != nil {
			t.Error(err)
		}
		if _, err := q.commit(&Change{Queues: []QueueChange{{Number: 3, Cursor: 6000 + i}}}, logView{}); err != nil {
			t.Error(err)
		}
	}
	close(done)
	readers.Wait()
}
