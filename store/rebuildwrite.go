package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// rebuildEntries is how many entries one transaction of a rebuild writes, or as many bytes of bodies.
const rebuildEntries, rebuildBytes = 10_000, 4 << 20

// Write makes the new queues.db durable under its name. Interrupted anywhere it leaves the old file, or the new one; what
// is there under the temporary name a start removes. The old file is not changed, but it has no name in the directory
// any more: keep it before.
func (r *Rebuild) Write() error {
	for _, step := range r.steps() {
		if err := step(); err != nil {
			return fmt.Errorf("rebuild queues: %w", full(err))
		}
	}
	return nil
}

// steps are Write, each step whole.
func (r *Rebuild) steps() []func() error {
	final := filepath.Join(r.dir, queuesName)
	tmp := final + tmpSuffix
	return []func() error{
		func() error { return ensureDir(filepath.Join(r.dir, logDir)) },
		func() error { return SyncDir(r.dir) }, // of two new names in one directory a power cut may leave either
		func() error { return removeIfThere(tmp) },
		func() error { return guard(tmp, func() error { return r.write(tmp, final) }) },
		func() error { return os.Rename(tmp, final) },
		func() error { return SyncDir(r.dir) },
	}
}

// write makes the whole file. An empty commit follows, so that both meta pages show all of it, and one flush for all.
func (r *Rebuild) write(tmp, old string) error {
	options := boltOptions()
	options.NoSync = true
	db, err := bolt.Open(tmp, 0o600, options)
	if err != nil {
		return err
	}
	w := &rebuildWriter{r: r, db: db, q: &queues{path: tmp}}
	err = w.run(old)
	if err == nil {
		db.NoSync = false
		err = db.Update(func(*bolt.Tx) error { return nil })
	}
	if err == nil {
		err = db.Sync()
	}
	return errors.Join(err, db.Close())
}

// A rebuildWriter fills a new file.
type rebuildWriter struct {
	r  *Rebuild
	db *bolt.DB
	q  *queues // names the file in errors
}

func (w *rebuildWriter) run(old string) error {
	err := w.db.Update(func(tx *bolt.Tx) error { return firstBuckets(tx, w.r.uuid) })
	if err != nil {
		return err
	}
	for _, number := range slices.Sorted(maps.Keys(w.r.queues)) {
		if err := w.queue(w.r.queues[number]); err != nil {
			return err
		}
	}
	bodies, err := w.bodies(old)
	if err != nil {
		return err
	}
	return w.db.Update(func(tx *bolt.Tx) error { return w.outer(tx, bodies) })
}

// queue writes a queue's bucket: its rows many at a time, and then what is little.
func (w *rebuildWriter) queue(q *newQueue) error {
	rows := slices.Sorted(maps.Keys(q.rows))
	entries := uint64(0)
	for first := true; first || len(rows) > 0; first = false {
		some := rows[:min(len(rows), rebuildEntries)]
		rows = rows[len(some):]
		err := w.db.Update(func(tx *bolt.Tx) error {
			b, err := tx.Bucket(bucketQueues).CreateBucketIfNotExists(queueKey(q.number))
			if err != nil {
				return err
			}
			qt := &queueTx{e: w.entries(b, q.number, entries), counts: q.counts, rows: map[uint64]Tally{}}
			for _, seq := range some {
				if err := putWhole(qt.e, q.rows[seq]); err != nil {
					return err
				}
			}
			if len(rows) == 0 {
				if err := w.rest(qt, q); err != nil {
					return err
				}
			}
			entries = qt.e.n
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *rebuildWriter) entries(b *bolt.Bucket, number uint32, n uint64) *entries {
	return &entries{q: w.q, name: queueName(number), b: b, number: number, n: n}
}

// putWhole writes a row that is new, with its index.
func putWhole(e *entries, r Row) error {
	for _, key := range rowIndex(&r) {
		if err := e.index(key); err != nil {
			return err
		}
	}
	return e.put(key1(kindRow, r.Seq), appendRow(nil, e.number, &r))
}

// rest writes what a queue has beside its rows. The counts come last: they have the number of entries.
func (w *rebuildWriter) rest(qt *queueTx, q *newQueue) error {
	for _, g := range q.gone {
		if err := qt.putGone(g); err != nil {
			return err
		}
	}
	for chunk, set := range q.marks {
		var marks []uint64
		if marks = appendMarks(marks, chunk, q.cursor, set); len(marks) == 0 {
			continue
		}
		keys, sets := encodeMarks(marks)
		if err := qt.e.put(keys[0], sets[0]); err != nil {
			return err
		}
	}
	if err := qt.setCursor(q.cursor); err != nil {
		return err
	}
	return qt.finish()
}

// bodies copies those that go over. One that does not check any more is damage that came between: the next start sees it.
func (w *rebuildWriter) bodies(old string) (n uint64, err error) {
	if len(w.r.bodies) == 0 {
		return 0, nil
	}
	f, err := os.Open(old)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	places := slices.SortedFunc(maps.Keys(w.r.bodies), comparePlaces)
	for len(places) > 0 {
		err := w.db.Update(func(tx *bolt.Tx) error {
			e := &entries{q: w.q, name: "bodies", b: tx.Bucket(bucketBodies), n: n}
			for size := int64(0); len(places) > 0 && size < rebuildBytes; places = places[1:] {
				ref := w.r.bodies[places[0]]
				size += ref.size
				if err := copyBody(e, f, places[0], ref); err != nil {
					return err
				}
			}
			n = e.n
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

func copyBody(e *entries, f io.ReaderAt, id bodyPlace, ref bodyRef) error {
	payload, err := readBodyValue(f, id, ref)
	if err != nil {
		return err
	}
	return e.put(bodyKey(id.queue, id.seq), payload)
}

// outer writes what is no queue's.
func (w *rebuildWriter) outer(tx *bolt.Tx, bodies uint64) error {
	sinks := &entries{q: w.q, name: "sinks", b: tx.Bucket(bucketSinks)}
	for i := range w.r.sinks {
		if err := sinks.put([]byte(w.r.sinks[i].Name), appendSink(nil, &w.r.sinks[i])); err != nil {
			return err
		}
	}
	acks := &entries{q: w.q, name: "acks", b: tx.Bucket(bucketAcks)}
	t := &transaction{q: w.q, tx: tx, acks: acks, wall: w.r.found.wall, recount: true, holes: w.r.holes, damage: w.r.found.damage.v.with(nil, w.r.lost)}
	if err := t.putAcks(w.r.acks, nil); err != nil {
		return err
	}
	state := w.r.state
	state.Sinks, state.Bodies, state.Acks = sinks.n, bodies, acks.n
	meta := &entries{q: w.q, name: "meta", b: tx.Bucket(bucketMeta)}
	return cmp.Or(t.putHoles(meta), t.putDamage(meta), t.putWall(meta), t.putRecount(meta), meta.put(keyState, state.append(nil)))
}
