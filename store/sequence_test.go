package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Guarantee G2, in part: the first byte after a start is written when queues.db says already that the stop was not clean.
// Otherwise a power cut between the two would leave a tail that is taken for one of a stop in order.
func TestCleanFlagIsGoneBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	dir := newQueuesDir(t)
	s := openStore(t, dir)
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", s.NextQueue())}})
	mustAppend(t, s, 1)
	equal(t, "error", s.Close(), nil)
	s = openStore(t, dir)
	disk, writes := s.log.ops, 0
	s.log.ops.pwrite = func(f *os.File, b []byte, off int64) (int, error) {
		writes++
		equal(t, "clean, as it is on disk", onDisk(t, s.queues).Clean, false)
		return disk.pwrite(f, b, off)
	}
	mustAppend(t, s, 1)
	if writes == 0 {
		t.Error("nothing was written: the test proves nothing")
	}
}

// onDisk is meta/state as the newest commit has it.
func onDisk(t *testing.T, q *queues) (m metaState) {
	t.Helper()
	err := q.view(func(tx *bolt.Tx) error {
		payload, err := openValue(0, keyState, tx.Bucket(bucketMeta).Get(keyState))
		if err == nil {
			m, err = decodeMetaState(payload)
		}
		return err
	})
	equal(t, "error", err, nil)
	return m
}

// Guarantee G4, in part: what a commit could not make durable is not in memory either, where segments are freed by it.
func TestFailedCommitChangesNoMemory(t *testing.T) {
	t.Parallel()
	q := openTestQueues(t, newQueuesDir(t))
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}})
	mustCommit(t, q, Change{QueueTime: 5, Queues: []QueueChange{{Number: 1, Cursor: 10, Rows: []Row{{Seq: 3, State: RowReady}}}}})
	if err := q.file.Close(); err != nil { // every write of it fails from here on
		t.Fatal(err)
	}
	_, err := q.commit(&Change{
		QueueTime: 9, Sinks: []Sink{liveSink("b", 2)},
		Queues: []QueueChange{{Number: 1, Cursor: 20, RowsGone: []uint64{3}, Rows: []Row{{Seq: 4, State: RowReady}, {Seq: 5, State: RowReady}}}},
	}, logView{next: 99, synced: 99})
	if _, fatal := errors.AsType[*FatalError](err); !fatal {
		t.Fatalf("%v: the test proves nothing", err)
	}
	equal(t, "cursor", q.lowestCursor(), uint64(10))
	equal(t, "rows", q.owedBetween(0, 100).Items, int64(1))
	equal(t, "queue time", q.meta.QueueTime, int64(5))
	equal(t, "sinks", len(q.allSinks()), 1)
	equal(t, "durable, as the log is told", q.logState().Synced, uint64(0))
}

// Guarantee E1, in part: a lane may have a block for as long as it likes, whatever is appended meanwhile.
func TestBlocksKeepTheirBytes(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	var blocks []*Block
	for n := range 30 {
		it := item(300, maskA)
		it.Body = fmt.Appendf(nil, "%d: %s", n, it.Body)
		it.Key, it.Attrs = fmt.Sprint("key ", n), MakeAttrs(map[string]string{"n": fmt.Sprint(n)})
		blocks = append(blocks, b.append(it)...)
	}
	var got []Item
	for _, block := range blocks {
		got = append(got, block.Items...)
	}
	if diff := diffOf(b.items, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Guarantee G2, in part: a segment goes only when either meta page tells of its hole. A disk that loses the newest commit
// would make damage of it otherwise.
func TestHolesAreInBothMetaPagesBeforeTheirSegmentsGo(t *testing.T) {
	t.Parallel()
	dir := newQueuesDir(t)
	q := openTestQueues(t, dir)
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}})
	holes := []hole{{first: 7, end: 9}}
	equal(t, "error", q.addHoles(holes), nil)
	equal(t, "error", q.close(), nil)
	for page := range 2 {
		image := t.TempDir()
		equal(t, "error", os.CopyFS(image, os.DirFS(dir)), nil)
		damageMeta(t, filepath.Join(image, queuesName), page)
		equal(t, "holes", fmt.Sprint(openTestQueues(t, image).holes), fmt.Sprint(holes))
	}
}
