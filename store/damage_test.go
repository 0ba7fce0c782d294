package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

func mustBeDamage(t testing.TB, dir string) {
	t.Helper()
	q, err := openQueues(dir)
	if err == nil {
		_ = q.close()
	}
	if _, ok := errors.AsType[*DamageError](err); !ok {
		t.Fatalf("open: %v, want damage", err)
	}
}

// fullStore has something of every kind, over several levels of pages.
func fullStore(t testing.TB) string {
	dir := newQueuesDir(t)
	q := openTestQueues(t, dir)
	rnd := rand.New(rand.NewPCG(1, 2))
	c := Change{QueueTime: 77, Sinks: []Sink{liveSink("a", 1), liveSink("b", 2, 3)}, Acks: []Ack{{3, 30}, {4, 0}, {5, 50}}}
	for number := uint32(1); number <= 3; number++ {
		qc := QueueChange{Number: number, Cursor: 5000, Counts: Counts{Settled: Tally{int64(number), 2}}}
		for seq := uint64(1); seq < 5000; seq += 1 + rnd.Uint64N(8) {
			r := Row{Seq: seq, State: RowState(rnd.IntN(5) + 1), Next: rnd.Int64N(1e6), KeyHash: rnd.Uint64N(3), FirstError: "refused"}
			qc.Rows = append(qc.Rows, r)
		}
		for seq := uint64(5000); seq < 20000; seq += 1 + rnd.Uint64N(8) {
			qc.Marks = append(qc.Marks, seq)
		}
		for i := range uint64(20) {
			qc.Gone = append(qc.Gone, Gone{100 * i, 100*i + 9, GoneExpired})
		}
		seq := qc.Rows[3].Seq
		c.Bodies = append(c.Bodies, Body{0, Item{Seq: seq, Body: bytes.Repeat([]byte{7}, 9000)}}, Body{number, Item{Seq: seq + 1, Body: []byte("e")}})
		c.Queues = append(c.Queues, qc)
	}
	mustCommit(t, q, c)
	for i := range 20 {
		c := Change{Queues: []QueueChange{c.Queues[0]}}
		c.Queues[0].Rows, c.Queues[0].Cursor = nil, uint64(5000+100*i)
		c.Queues[0].RowsGone = []uint64{uint64(200 * i), uint64(200*i + 1), uint64(200*i + 2)}
		mustCommit(t, q, c)
	}
	if err := q.close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// dump reads everything there is.
func dump(q *queues) (map[string]any, error) {
	all := map[string]any{"sinks": q.allSinks(), "time": q.meta.QueueTime, "uuid": q.uuid, "owed": q.owedBetween(0, math.MaxUint64), "log": fmt.Sprint(q.logState())}
	for _, sink := range q.allSinks() {
		for _, sq := range sink.Queues {
			state, err := q.loadQueue(sq.Number)
			if err != nil {
				return nil, err
			}
			all[fmt.Sprint("queue ", sq.Number)] = state
			rows, err := q.rows(sq.Number, 0, 1e6, nil)
			if err != nil {
				return nil, err
			}
			ready, err := q.readyRows(sq.Number, 0, 1e6)
			if err != nil {
				return nil, err
			}
			all[fmt.Sprint("rows ", sq.Number)], all[fmt.Sprint("ready ", sq.Number)] = rows, ready
			for _, r := range rows {
				it, found, err := q.body(sq.Number, r.Seq)
				if err != nil {
					return nil, err
				}
				if found {
					all[fmt.Sprint("body ", sq.Number, r.Seq)] = it
				}
			}
			for seq := range uint64(2000) {
				reason, _, err := q.gone(sq.Number, seq)
				if err != nil {
					return nil, err
				}
				if reason != 0 {
					all[fmt.Sprint("gone ", sq.Number, seq)] = reason
				}
			}
		}
	}
	acks, err := q.acks(0, 100)
	all["acks"] = acks
	return all, err
}

func dumpDir(t testing.TB, dir string) (map[string]any, error) {
	t.Helper()
	q, err := openQueues(dir)
	if err != nil {
		return nil, err
	}
	all, err := dump(q)
	return all, errors.Join(err, q.close())
}

// hurt damages a file in one of a few ways.
func hurt(rnd *rand.Rand, b []byte) string {
	page := 4096 * rnd.IntN(len(b)/4096)
	switch rnd.IntN(8) {
	case 0:
		clear(b[page : page+4096])
		return fmt.Sprint("page zeroed at ", page)
	case 1:
		for i := range 4096 {
			b[page+i] = byte(rnd.Uint32())
		}
		return fmt.Sprint("garbage at ", page)
	case 2:
		other := 4096 * rnd.IntN(len(b)/4096)
		copy(b[page:page+4096], bytes.Clone(b[other:other+4096]))
		return fmt.Sprint("page ", other, " written to ", page)
	case 3, 4: // headers are few and hit hard
		at := page + rnd.IntN(64)
		b[at] ^= 1 << rnd.IntN(8)
		return fmt.Sprint("bit near a page's beginning, at ", at)
	}
	at := rnd.IntN(len(b))
	b[at] ^= 1 << rnd.IntN(8)
	return fmt.Sprint("bit at ", at)
}

// Guarantee G6, in part: damage in queues.db is told or does not matter; it neither kills nor hangs the process, and
// no wrong state comes out of it. What a lost meta page costs, which is one commit, is for CheckMetas to tell.
func TestDamagedQueuesAreToldOrWhole(t *testing.T) {
	cases := 150
	if os.Getenv("HOLDFAST_LONG") != "" {
		cases = 5000
	}
	dir := fullStore(t)
	good, err := os.ReadFile(filepath.Join(dir, queuesName))
	if err != nil {
		t.Fatal(err)
	}
	used := usedBytes(t, dir)
	want, err := dumpDir(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	told, whole, older := 0, 0, 0
	for seed := range cases {
		rnd := rand.New(rand.NewPCG(uint64(seed), 7))
		b := bytes.Clone(good)
		what := hurt(rnd, b[:used])
		path := filepath.Join(t.TempDir(), queuesName)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := dumpDir(t, filepath.Dir(path))
		_, damage := errors.AsType[*DamageError](err)
		report, _ := CheckMetas(path)
		switch {
		case damage:
			told++
		case err != nil:
			t.Errorf("seed %d, %s: %v", seed, what, err)
		case cmp.Equal(want, got):
			whole++
		case !report.OK():
			older++
		default:
			t.Errorf("seed %d, %s: a wrong state (-want +got):\n%.2000s", seed, what, cmp.Diff(want, got))
		}
	}
	t.Logf("%d cases: %d told, %d whole, %d rolled back by a lost meta page and told by CheckMetas", cases, told, whole, older)
	if told < cases/5 || whole == 0 {
		t.Errorf("these cases prove little")
	}
}

func usedBytes(t testing.TB, dir string) (n int64) {
	t.Helper()
	q := openTestQueues(t, dir)
	equal(t, "error", q.view(func(tx *bolt.Tx) error { n = tx.Size(); return nil }), nil)
	equal(t, "error", q.close(), nil)
	return n
}

// editBuckets changes the buckets behind the back of queues.
func editBuckets(t testing.TB, dir string, change func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, queuesName), 0o600, boltOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestEveryEntryIsMissed(t *testing.T) {
	dir := newQueuesDir(t)
	q := openTestQueues(t, dir)
	mustCommit(t, q, Change{
		Sinks: []Sink{liveSink("a", 1)}, Acks: []Ack{{1, 2}}, Bodies: []Body{{0, Item{Seq: 2}}},
		Queues: []QueueChange{{Number: 1, Marks: []uint64{9}, Gone: []Gone{{1, 1, GoneLost}}, Rows: []Row{
			{Seq: 2, State: RowReady, KeyHash: 1}, {Seq: 3, State: RowNotDue}, {Seq: 4, State: RowDead}, {Seq: 5, State: RowBlocked}}}},
	})
	equal(t, "error", q.close(), nil)
	good, _ := os.ReadFile(q.path)
	paths := map[string]func(*bolt.Tx) *bolt.Bucket{
		"queue": func(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket(bucketQueues).Bucket(queueKey(1)) },
	}
	for _, name := range [][]byte{bucketMeta, bucketSinks, bucketBodies, bucketAcks} {
		paths[string(name)] = func(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket(name) }
	}
	missed := 0
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		for n := 0; ; n++ {
			other := t.TempDir()
			if err := os.WriteFile(filepath.Join(other, queuesName), good, 0o600); err != nil {
				t.Fatal(err)
			}
			var key []byte
			editBuckets(t, other, func(tx *bolt.Tx) error {
				c := paths[name](tx).Cursor()
				k, _ := c.First()
				for range n {
					if k != nil {
						k, _ = c.Next()
					}
				}
				if key = bytes.Clone(k); key == nil {
					return nil
				}
				return paths[name](tx).Delete(key)
			})
			if key == nil {
				break
			}
			missed++
			mustBeDamage(t, other)
		}
	}
	equal(t, "entries that were taken away", missed, 3+1+1+1+12)
}

// Guarantee G5, in part: a format of another version is refused with both numbers, and not a byte is changed.
func TestUnknownFormatIsRefusedUntouched(t *testing.T) {
	dir := newQueuesDir(t)
	editBuckets(t, dir, func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keyFormat, sealValue(0, keyFormat, binary.BigEndian.AppendUint32(nil, 7)))
	})
	path := filepath.Join(dir, queuesName)
	before, _ := os.ReadFile(path)
	fi, _ := os.Stat(path)
	_, err := openQueues(dir)
	foreign, ok := errors.AsType[*FormatError](err)
	if !ok || foreign.Found != 7 || foreign.Know != queuesFormat || foreign.Path != path {
		t.Fatalf("open: %v", err)
	}
	after, _ := os.ReadFile(path)
	equal(t, "bytes as before", bytes.Equal(before, after), true)
	now, _ := os.Stat(path)
	equal(t, "time as before", now.ModTime(), fi.ModTime())
	equal(t, "disk as before", allocated(now), allocated(fi))
}

// A circle in the tree would keep bbolt's own cursor going for ever.
func TestACircleOfPagesIsDamage(t *testing.T) {
	dir := fullStore(t)
	path := filepath.Join(dir, queuesName)
	b, _ := os.ReadFile(path)
	circles := 0
	for page := 2; page < len(b)/4096; page++ {
		p := b[page*4096:]
		if binary.NativeEndian.Uint16(p[8:]) != pageBranch || binary.NativeEndian.Uint64(p) != uint64(page) {
			continue
		}
		circles++
		binary.NativeEndian.PutUint64(p[boltPageHeader+8:], uint64(page))
	}
	if circles == 0 {
		t.Fatal("no branch page")
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	mustBeDamage(t, dir)
}

func TestATruncatedFileIsDamage(t *testing.T) {
	dir := fullStore(t)
	path := filepath.Join(dir, queuesName)
	for _, size := range []int64{usedBytes(t, dir) - 1, 40960, 8192, 4096, 100, 0} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		mustBeDamage(t, dir)
	}
}

// An index entry that points elsewhere would hide a delivery until the end of time.
func TestAnIndexThatDoesNotFitItsRowsIsDamage(t *testing.T) {
	for _, kind := range []byte{kindDue, kindKey, kindExpiry, kindWall} {
		dir := newQueuesDir(t)
		q := openTestQueues(t, dir)
		mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}, Queues: []QueueChange{{Number: 1, Rows: []Row{
			{Seq: 2, State: RowRetry, Next: 5, KeyHash: 1}, {Seq: 3, State: RowNotDue}, {Seq: 4, State: RowDead}}}}})
		equal(t, "error", q.close(), nil)
		editBuckets(t, dir, func(tx *bolt.Tx) error {
			b := tx.Bucket(bucketQueues).Bucket(queueKey(1))
			key, _ := b.Cursor().Seek([]byte{kind})
			moved := bytes.Clone(key)
			moved[len(moved)-9]++ // the last byte of the time, or of the hash
			return errors.Join(b.Delete(bytes.Clone(key)), b.Put(moved, nil))
		})
		mustBeDamage(t, dir)
	}
}
