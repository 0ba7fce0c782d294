package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

var testUUID = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// newQueuesDir makes an empty store, and gives its lock back.
func newQueuesDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Create(d, testUUID), d.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openTestQueues(t testing.TB, dir string) *queues {
	t.Helper()
	q, err := openQueues(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.close() })
	return q
}

func reopenTestQueues(t testing.TB, q *queues) *queues {
	t.Helper()
	if err := q.close(); err != nil {
		t.Fatal(err)
	}
	return openTestQueues(t, filepath.Dir(q.path))
}

func mustCommit(t testing.TB, q *queues, c Change) {
	t.Helper()
	if _, err := q.commit(&c, logView{}); err != nil {
		t.Fatalf("%+v", err)
	}
}

func mustFail(t testing.TB, q *queues, c Change) {
	t.Helper()
	if _, err := q.commit(&c, logView{}); err == nil {
		t.Fatalf("commit of %+v: no error", c)
	} else if _, fatal := errors.AsType[*FatalError](err); fatal {
		t.Fatalf("commit of %+v: %v is fatal", c, err)
	}
}

func liveSink(name string, numbers ...uint32) Sink {
	s := Sink{Name: name, State: Active}
	for i, n := range numbers {
		s.Queues = append(s.Queues, SinkQueue{Number: n, Live: i == len(numbers)-1})
	}
	return s
}

// failer is what testing and rapid have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func equal(t failer, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(damageRecord{}, hole{}, lostRange{})); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func TestCommitKeepsEveryField(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	sinks := []Sink{
		{Name: "archive", State: Paused, Queues: []SinkQueue{
			{Number: 3, Match: []byte("type = alarm"), From: 17, End: 9000}, {Number: 4, Match: []byte{}}, {Number: 1, Live: true},
		}},
		{Name: "crm", State: Orphan, Queues: []SinkQueue{{Number: 2, Live: true, From: math.MaxUint64, End: 5}}},
		{Name: "old", State: Removed, Queues: []SinkQueue{{Number: 5}}},
	}
	rows := []Row{
		{Seq: 100, State: RowReady, Owes: true, Bytes: 12},
		{Seq: 101, State: RowRetry, Attempts: 3, First: 1, Last: 1700000000000, Next: 1700000000001, FirstError: "a", LastError: "b"},
		{Seq: 102, State: RowNotDue, Next: math.MaxInt64, KeyHash: math.MaxUint64},
		{Seq: 103, State: RowBlocked, KeyHash: 7, FirstError: "x", LastError: "x"},
		{Seq: 104, State: RowDead, Permanent: true, Attempts: math.MaxUint32, Bytes: math.MaxInt64, First: -5, Last: math.MinInt64, Next: -1},
		{Seq: math.MaxUint64, State: RowDead, LastError: "only last"},
	}
	counts := Counts{Tally{1, 2}, Tally{3, 4}, Tally{-5, math.MaxInt64}}
	evacuated := Item{
		Seq: 100, Time: 1700000000123, Mask: &Mask{To: []uint32{1, 2, 70000}, Dropped: []uint32{3}},
		Attrs: MakeAttrs(map[string]string{"type": "alarm", "z": ""}), Key: "k", Expires: 5, NotBefore: 6, Continues: true,
		Dedupe: &Dedupe{Key: [16]byte{1}, Body: [16]byte{2}}, Body: []byte("body"),
	}
	edited := Item{Seq: 101, Mask: &Mask{To: []uint32{1}}, Body: []byte("edited")}
	mustCommit(t, q, Change{
		QueueTime: 42, Sinks: sinks, Acks: []Ack{{9, 1700000000009}, {7, -1}, {8, 0}}, Bodies: []Body{{0, evacuated}, {1, edited}},
		Queues: []QueueChange{
			{Number: 1, Cursor: 90, Marks: []uint64{91, 4095, 4096, 100000}, Counts: counts, Rows: rows, Gone: []Gone{{5, 9, GoneSkipped}, {11, 11, GoneLost}}},
			{Number: 2, Cursor: math.MaxUint64},
		},
	})
	for range 2 {
		equal(t, "sinks", q.allSinks(), sinks)
		equal(t, "queue time", q.meta.QueueTime, int64(42))
		s, err := q.loadQueue(1)
		equal(t, "queue 1", s, QueueState{1, 90, []uint64{91, 4095, 4096, 100000}, counts})
		equal(t, "error", err, nil)
		s, _ = q.loadQueue(2)
		equal(t, "queue 2", s, QueueState{Number: 2, Cursor: math.MaxUint64})
		s, _ = q.loadQueue(3)
		equal(t, "queue 3, of which nothing was said", s, QueueState{Number: 3, Cursor: 1})
		got, err := q.rows(1, 0, 100, nil)
		equal(t, "rows", got, rows)
		equal(t, "error", err, nil)
		it, found, err := q.body(1, 100)
		equal(t, "evacuated", it, evacuated)
		equal(t, "found", found && err == nil, true)
		it, _, _ = q.body(1, 101)
		equal(t, "edited", it, edited)
		_, found, _ = q.body(2, 101)
		equal(t, "edited for another queue", found, false)
		acks, _ := q.acks(8, 10)
		equal(t, "acks", acks, []Ack{{8, 0}, {9, 1700000000009}})
		for seq, want := range map[uint64]Reason{4: 0, 5: GoneSkipped, 9: GoneSkipped, 10: 0, 11: GoneLost, 12: 0} {
			reason, found, err := q.gone(1, seq)
			equal(t, "gone", reason, want)
			equal(t, "found", found, want != 0)
			equal(t, "error", err, nil)
		}
		if _, err := q.loadQueue(9); !errors.Is(err, ErrNotFound) {
			t.Fatalf("a queue that nobody has: %v", err)
		}
		q = reopenTestQueues(t, q)
	}
	if got := q.logState().Highest; got != math.MaxUint64 {
		t.Fatalf("highest seq of the queues: %d", got)
	}
}

func TestCommitReportsOnlyRealChangesOfSinks(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	for i, step := range []struct {
		sink  Sink
		moved bool
	}{
		{liveSink("a", 1), true}, {liveSink("a", 1), false}, {Sink{Name: "a", State: Paused, Queues: liveSink("a", 1).Queues}, true},
		{Sink{Name: "a", State: Removed}, true}, {Sink{Name: "a", State: Removed}, false},
	} {
		moved, err := q.commit(&Change{Sinks: []Sink{step.sink}}, logView{})
		if moved != step.moved || err != nil {
			t.Fatalf("step %d: moved %v, %v", i, moved, err)
		}
	}
	equal(t, "sinks", len(q.allSinks()), 0)
	if _, err := q.loadQueue(1); !errors.Is(err, ErrNotFound) {
		t.Fatalf("the bucket of a removed sink's queue: %v", err)
	}
}

func TestMistakesChangeNothing(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}, Queues: []QueueChange{{Number: 1, Cursor: 5, Rows: []Row{{Seq: 3, State: RowDead}}}}})
	for _, c := range []Change{
		{Sinks: []Sink{{Name: "", State: Active}}},
		{Sinks: []Sink{{Name: "b"}}},
		{Sinks: []Sink{liveSink("b", 1)}},
		{Sinks: []Sink{liveSink("b", 0)}},
		{Sinks: []Sink{{Name: "a", State: Removed}}}, // it still has a row
		{Queues: []QueueChange{{Number: 2}}},
		{Queues: []QueueChange{{Number: 1}, {Number: 1}}},
		{Queues: []QueueChange{{Number: 1, Rows: []Row{{Seq: 9}}}}},
		{Queues: []QueueChange{{Number: 1, Marks: []uint64{9, 8}}}},
		{Queues: []QueueChange{{Number: 1, Gone: []Gone{{9, 8, GoneLost}}}}},
	} {
		c.QueueTime, c.Acks = 99, []Ack{{1, 2}}
		mustFail(t, q, c)
	}
	for range 2 {
		equal(t, "queue time", q.meta.QueueTime, int64(0))
		equal(t, "sinks", q.allSinks(), []Sink{liveSink("a", 1)})
		s, _ := q.loadQueue(1)
		equal(t, "queue", s, QueueState{Number: 1, Cursor: 5})
		acks, _ := q.acks(0, 10)
		equal(t, "acks", len(acks), 0)
		q = reopenTestQueues(t, q)
	}
}

func TestQueueNumbersAreGivenOnce(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	equal(t, "first", q.next(), uint32(1))
	equal(t, "second", q.next(), uint32(2))
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 2)}})
	equal(t, "snapshot", q.snapshot().QueueNumber, uint32(2))
	mustCommit(t, q, Change{Sinks: []Sink{{Name: "a", State: Removed}}})
	q = reopenTestQueues(t, q)
	equal(t, "after a restart", q.next(), uint32(3))
	q.raise(8)
	equal(t, "after the log knew more", q.next(), uint32(9))
}

func TestMarksAreReplacedAndShrunk(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}})
	var many []uint64
	for seq := uint64(10); seq < 30000; seq += 3 {
		many = append(many, seq)
	}
	for _, step := range []struct {
		cursor      uint64
		marks, want []uint64
	}{
		{10, many, many},
		{9000, many, many[slices.Index(many, 9001):]},
		{9000, []uint64{9001, 20000}, []uint64{9001, 20000}},
		{9000, []uint64{20000}, []uint64{20000}},
		{20001, nil, nil},
	} {
		mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, Cursor: step.cursor, Marks: step.marks}}})
		q = reopenTestQueues(t, q)
		s, err := q.loadQueue(1)
		equal(t, "error", err, nil)
		equal(t, "queue", s, QueueState{Number: 1, Cursor: step.cursor, Marks: step.want})
	}
	equal(t, "entries that are left", countKeys(t, q, 1, kindMark), 0)
}

func countKeys(t testing.TB, q *queues, number uint32, kind byte) (n int) {
	t.Helper()
	err := q.view(func(tx *bolt.Tx) error {
		e, err := q.queueBucket(tx, number)
		if err == nil {
			n = len(e.keys([]byte{kind}, math.MaxInt))
		}
		return err
	})
	equal(t, "error", err, nil)
	return n
}

func TestCommitOfWhatIsThereWritesNoLeaf(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	c := Change{Sinks: []Sink{liveSink("a", 1)}, QueueTime: 5, Queues: []QueueChange{{
		Number: 1, Cursor: 7, Marks: []uint64{8, 9}, Counts: Counts{Settled: Tally{1, 1}}, Rows: []Row{{Seq: 8, State: RowDead}}, Gone: []Gone{{1, 2, GoneLost}},
	}}}
	mustCommit(t, q, c)
	cost := func(c Change) int64 {
		before := q.written.Load()
		mustCommit(t, q, c)
		return q.written.Load() - before
	}
	empty := cost(Change{})
	equal(t, "bytes of the same again", cost(c), empty)
	c.Queues[0].Cursor++
	if changed := cost(c); changed <= empty {
		t.Fatalf("a new cursor wrote %d bytes, an empty commit %d", changed, empty)
	}
}

func TestEmptyChangeMakesACommit(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	before, err := CheckMetas(q.path)
	equal(t, "error", err, nil)
	mustCommit(t, q, Change{})
	after, _ := CheckMetas(q.path)
	if max(after.TxID[0], after.TxID[1]) != max(before.TxID[0], before.TxID[1])+1 {
		t.Fatalf("before %+v, after %+v", before, after)
	}
}

func TestReadyRowsPassesTheOthersBy(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	var rows []Row
	var ready []uint64
	for seq := uint64(1); seq <= 5000; seq++ {
		r := Row{Seq: seq, State: RowState(seq%5) + 1, Next: int64(seq%7) - 3}
		rows = append(rows, r)
		if r.State == RowReady {
			ready = append(ready, seq)
		}
	}
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}, Queues: []QueueChange{{Number: 1, Rows: rows}}})
	var got []uint64
	for from := uint64(0); ; {
		page, err := q.readyRows(1, from, 300)
		equal(t, "error", err, nil)
		for _, r := range page {
			got = append(got, r.Seq)
		}
		if len(page) < 300 {
			break
		}
		from = page[len(page)-1].Seq + 1
	}
	equal(t, "ready", got, ready)
	dead, err := q.rows(1, 4000, 3, []RowState{RowDead, RowRetry})
	equal(t, "error", err, nil)
	equal(t, "dead or retry from 4000 on", []uint64{dead[0].Seq, dead[1].Seq, dead[2].Seq}, []uint64{4001, 4004, 4006})
	none, err := q.rows(1, 5001, 10, nil)
	equal(t, "beyond", len(none), 0)
	equal(t, "error", err, nil)
}

func TestBodiesGoWithTheirLastRow(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	row := []Row{{Seq: 5, State: RowReady}}
	item := func(body string) Item { return Item{Seq: 5, Body: []byte(body)} }
	owed := func(want int) {
		t.Helper()
		equal(t, "rows that the log owes", q.owedBetween(0, 100).Items, int64(want))
	}
	body := func(number uint32, want string) {
		t.Helper()
		it, found, err := q.body(number, 5)
		equal(t, "error", err, nil)
		equal(t, "body", string(it.Body), want)
		equal(t, "found", found, want != "")
	}
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1), liveSink("b", 2)}, Queues: []QueueChange{{Number: 1, Rows: row}, {Number: 2, Rows: row}}})
	owed(2)
	mustCommit(t, q, Change{Bodies: []Body{{1, item("edited")}}})
	owed(1)
	mustCommit(t, q, Change{Bodies: []Body{{0, item("evacuated")}}})
	owed(0)
	q = reopenTestQueues(t, q)
	owed(0)
	body(1, "edited")
	body(2, "evacuated")
	mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, RowsGone: []uint64{5}}}})
	body(1, "evacuated") // the edited one went with its row
	mustCommit(t, q, Change{Queues: []QueueChange{{Number: 2, RowsGone: []uint64{5}}}})
	body(2, "")
	mustCommit(t, q, Change{Bodies: []Body{{0, item("of nobody")}, {1, item("of nobody")}}})
	body(1, "")
	mustCommit(t, q, Change{Bodies: []Body{{0, item("with its row")}}, Queues: []QueueChange{{Number: 2, Rows: row}}})
	body(2, "with its row")
	owed(0)
	q = reopenTestQueues(t, q)
	owed(0)
	equal(t, "bodies", q.meta.Bodies, uint64(1))
}

func TestRowsAreCountedPerRangeOfTheLog(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1), liveSink("b", 2)}, Queues: []QueueChange{
		{Number: 1, Cursor: 50000, Rows: []Row{{Seq: 10, State: RowDead}, {Seq: 4096, State: RowDead}, {Seq: 20000, State: RowDead}}},
		{Number: 2, Cursor: 30000, Rows: []Row{{Seq: 4095, State: RowDead}}},
	}})
	for range 2 {
		for _, c := range []struct {
			first, end uint64
			want       int64
		}{{0, 11, 1}, {0, 10, 0}, {10, 11, 1}, {11, 4095, 0}, {11, 4096, 1}, {11, 4097, 2}, {4097, 20000, 0}, {0, math.MaxUint64, 4}, {20000, 20001, 1}} {
			equal(t, "rows", q.owedBetween(c.first, c.end).Items, c.want)
		}
		equal(t, "lowest cursor", q.lowestCursor(), uint64(30000))
		equal(t, "snapshot", q.snapshot().Queues, map[uint32]queueSnap{1: {50000, 0}, 2: {30000, 0}})
		q = reopenTestQueues(t, q)
	}
	mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, Cursor: 50000, RowsGone: []uint64{10, 4096}}, {Number: 2, Cursor: 30000, RowsGone: []uint64{4095}}}})
	equal(t, "snapshot", q.snapshot().Queues, map[uint32]queueSnap{1: {50000, 16384}, 2: {30000, 30000}})
	equal(t, "needed of the log", q.logState().OldestNeeded, uint64(30000))
}

func TestGoneRangesKeepTheFirstReason(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	gone := func(g ...Gone) Change { return Change{Queues: []QueueChange{{Number: 1, Gone: g}}} }
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}})
	mustCommit(t, q, gone(Gone{50, 50, GoneExpired}))
	mustCommit(t, q, gone(Gone{40, 100, GoneSkipped}))
	mustCommit(t, q, gone(Gone{101, 101, GoneSkipped}, Gone{102, 103, GoneSkipped}, Gone{103, 104, GoneLost}))
	q = reopenTestQueues(t, q)
	for seq, want := range map[uint64]Reason{39: 0, 40: GoneSkipped, 49: GoneSkipped, 50: GoneExpired, 51: GoneSkipped, 103: GoneSkipped, 104: GoneLost, 105: 0} {
		reason, _, err := q.gone(1, seq)
		equal(t, "error", err, nil)
		if reason != want {
			t.Errorf("seq %d: reason %d, want %d", seq, reason, want)
		}
	}
	equal(t, "ranges", countKeys(t, q, 1, kindGone), 4)
}

func TestGoneRangesGoWithTheirSegments(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	var ranges []Gone
	for i := range uint64(2500) {
		ranges = append(ranges, Gone{10 * i, 10*i + 3, GoneDropped})
	}
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}, Queues: []QueueChange{{Number: 1, Gone: ranges}}})
	for _, want := range []int{1500, 501, 501} { // 1,000 at a time; the range 19990–19993 has an end in the log
		if _, err := q.commit(&Change{}, logView{oldest: 19993}); err != nil {
			t.Fatal(err)
		}
		equal(t, "ranges left", countKeys(t, q, 1, kindGone), want)
	}
	_, found, _ := q.gone(1, 19991)
	equal(t, "a range partly in the log", found, true)
}

func TestCleanStopIsRemembered(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	equal(t, "a new store", q.logState().Clean, true)
	equal(t, "error", q.clearClean(), nil)
	before := q.written.Load()
	equal(t, "error", q.clearClean(), nil)
	equal(t, "bytes to clear it again", q.written.Load()-before, int64(0))
	mustCommit(t, q, Change{QueueTime: 1})
	q = reopenTestQueues(t, q)
	equal(t, "after a crash", q.logState().Clean, false)
	equal(t, "error", q.setClean(logView{next: 8, synced: 7, idTime: 6}), nil)
	q = reopenTestQueues(t, q)
	equal(t, "after a stop", q.logState(), logState{Clean: true, Highest: 7, Synced: 7, IDTime: 6, OldestNeeded: math.MaxUint64})
}

// The kernel's own count of what this process wrote is the judge; go test itself writes a little too.
func TestWrittenCountsThePagesOfACommit(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}})
	before, wrote := q.written.Load(), bytesWritten(t)
	for i := range uint64(50) {
		mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, Cursor: i, Rows: bigRows(100*i, 100)}}})
	}
	counted, really := q.written.Load()-before, bytesWritten(t)-wrote
	if off := really - counted; off < 0 || off >= counted/100 {
		t.Fatalf("counted %d bytes, the kernel %d", counted, really)
	}
}

func bytesWritten(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skipf("NOT PROVEN HERE: no count of bytes written: %v", err)
	}
	var read int64
	if _, err := fmt.Sscanf(string(text), "rchar: %d\nwchar: %d\n", &read, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func bigRows(first uint64, n int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		rows[i] = Row{Seq: first + uint64(i), State: RowDead, LastError: strings.Repeat("x", 1000)}
	}
	return rows
}
