package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"

	bolt "go.etcd.io/bbolt"
)

// load reads what is kept in memory, and checks every value on its way. checkPages came before: the walk ends.
func (q *queues) load(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketSinks, bucketQueues, bucketBodies, bucketAcks} {
		if tx.Bucket(name) == nil {
			return q.damaged(string(name), nil, "it is missing")
		}
	}
	return firstError(
		func() error { return q.loadMeta(tx.Bucket(bucketMeta)) },
		func() error { return q.loadSinks(tx.Bucket(bucketSinks)) },
		func() error { return q.loadBodies(tx.Bucket(bucketBodies)) },
		func() error { return q.loadAcks(tx.Bucket(bucketAcks)) },
		func() error { return q.loadQueues(tx.Bucket(bucketQueues), tx.Bucket(bucketBodies)) })
}

// firstError runs steps until one fails.
func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// checkFormat looks at the record that every program can read.
func (q *queues) checkFormat(b *bolt.Bucket) error {
	format, err := openValue(0, keyFormat, b.Get(keyFormat))
	if err != nil || len(format) < 4 {
		return q.damage("meta", keyFormat, errChecksum)
	}
	if found := binary.BigEndian.Uint32(format); found != queuesFormat {
		return &FormatError{Path: q.path, Found: found, Know: queuesFormat}
	}
	return nil
}

func (q *queues) loadMeta(b *bolt.Bucket) error {
	if err := q.checkFormat(b); err != nil {
		return err
	}
	uuid, err := openValue(0, keyStore, b.Get(keyStore))
	if err != nil || len(uuid) != len(q.uuid) {
		return q.damage("meta", keyStore, errChecksum)
	}
	q.uuid = [16]byte(uuid)
	payload, err := openValue(0, keyState, b.Get(keyState))
	if err == nil {
		q.meta, err = decodeMetaState(payload)
	}
	if err != nil {
		return q.damage("meta", keyState, err)
	}
	if q.holes, err = loadOptional(q, b, keyHoles, decodeHoles); err != nil {
		return err
	}
	if q.wall, err = loadOptional(q, b, keyWall, decodeWall); err != nil {
		return err
	}
	q.recount = b.Get(keyRecount) != nil
	q.hurt, err = loadOptional(q, b, keyDamage, decodeDamage)
	return err
}

// loadOptional reads a value of meta that need not be there.
func loadOptional[T any](q *queues, meta *bolt.Bucket, key []byte, decode func(payload []byte) (T, error)) (v T, err error) {
	value := meta.Get(key)
	if value == nil {
		return v, nil
	}
	payload, err := openValue(0, key, value)
	if err == nil {
		v, err = decode(payload)
	}
	if err != nil {
		return v, q.damage("meta", key, err)
	}
	return v, nil
}

func (q *queues) loadSinks(b *bolt.Bucket) error {
	err := b.ForEach(func(name, value []byte) error {
		payload, err := openValue(0, name, value)
		if err != nil {
			return q.damage("sinks", name, err)
		}
		sink, err := decodeSink(name, payload)
		if err != nil {
			return q.damage("sinks", name, err)
		}
		q.sinks = append(q.sinks, sink)
		return nil
	})
	if err == nil && uint64(len(q.sinks)) != q.meta.Sinks {
		err = q.damaged("sinks", nil, "some of them are missing")
	}
	return err
}

func (q *queues) countEntries(b *bolt.Bucket, name string, want uint64) error {
	var n uint64
	c := b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	if n != want {
		return q.damaged(name, nil, "some of its entries are missing")
	}
	return nil
}

// loadBodies counts the bodies. They are checked when they are read; but after a stop that was not in order all of them
// are: it may have been for one that did not check.
func (q *queues) loadBodies(b *bolt.Bucket) error {
	if q.meta.Clean && !q.thorough {
		return q.countEntries(b, "bodies", q.meta.Bodies)
	}
	err := b.ForEach(func(key, value []byte) error {
		payload, err := openValue(0, key, value)
		if err == nil {
			err = checkBody(key, payload)
		}
		if err != nil {
			return q.damage("bodies", key, err)
		}
		return nil
	})
	return cmpError(err, q.countEntries(b, "bodies", q.meta.Bodies))
}

func (q *queues) loadAcks(b *bolt.Bucket) error {
	err := b.ForEach(func(key, value []byte) error {
		payload, err := openValue(0, key, value)
		if err == nil {
			_, err = decodeAck(payload)
		}
		if err != nil {
			return q.damage("acks", key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return q.countEntries(b, "acks", q.meta.Acks)
}

// loadQueues walks each queue's bucket. Those and the numbers that the sinks have are the same set.
func (q *queues) loadQueues(b, bodies *bolt.Bucket) error {
	for _, sink := range q.sinks {
		for _, sq := range sink.Queues {
			bucket := b.Bucket(queueKey(sq.Number))
			if bucket == nil || q.queues[sq.Number] != nil || sq.Number > q.meta.Given {
				return q.damaged("sinks", []byte(sink.Name), "its queues are not there, or not its own")
			}
			w := newQueueWalk(q, sq.Number, bodies)
			if err := w.walk(bucket); err != nil {
				return err
			}
			q.queues[sq.Number] = &queueMemory{cursor: w.cursor, marks: w.marks, rows: w.rows}
			q.meta.Highest = max(q.meta.Highest, w.highest)
		}
	}
	return q.countEntries(b, "queues", uint64(len(q.queues)))
}

// A queueWalk checks one bucket: every checksum, the number of entries, and that the index entries are those which the
// rows ask for. For that it compares sums of hashes, so that it needs no memory.
type queueWalk struct {
	q       *queues
	number  uint32
	bodies  *bolt.Bucket
	seed    maphash.Seed
	index   uint64 // sum over what the rows ask for, less what is there
	entries uint64
	stored  uint64 // entries as the counts say
	cursor  uint64
	highest uint64
	marks   markSet
	rows    map[uint64]Tally
}

func newQueueWalk(q *queues, number uint32, bodies *bolt.Bucket) *queueWalk {
	return &queueWalk{q: q, number: number, bodies: bodies, seed: maphash.MakeSeed(), marks: markSet{}, rows: map[uint64]Tally{}}
}

func (w *queueWalk) walk(b *bolt.Bucket) error {
	var singles int
	c := b.Cursor()
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if err := w.entry(key, value); err != nil {
			return w.q.damage(queueName(w.number), key, err)
		}
		if key[0] == kindCursor || key[0] == kindCounts {
			singles++
		}
	}
	switch {
	case singles != 2:
		return w.q.damaged(queueName(w.number), nil, "its cursor or its counts are missing")
	case w.entries != w.stored+1: // the counts do not count themselves
		return w.q.damaged(queueName(w.number), nil, "some of its entries are missing")
	case w.index != 0:
		return w.q.damaged(queueName(w.number), nil, "its index does not fit its rows")
	}
	return nil
}

func (w *queueWalk) entry(key, value []byte) error {
	w.entries++
	kind := key[0]
	if want := keyLength(kind); want != len(key) {
		return errors.New("it is no key of a queue")
	}
	if kind == kindDue || kind == kindExpiry || kind == kindKey || kind == kindWall {
		w.index -= maphash.Bytes(w.seed, key)
		return nil
	}
	payload, err := openValue(w.number, key, value)
	if err != nil {
		return err
	}
	return w.value(kind, key, payload)
}

// value takes what is not an index entry.
func (w *queueWalk) value(kind byte, key, payload []byte) (err error) {
	switch kind {
	case kindCursor:
		d := fields{b: payload}
		w.cursor = d.uint64()
		w.saw(max(w.cursor, 1) - 1)
		err = d.done()
	case kindCounts:
		_, w.stored, err = decodeCounts(payload)
	case kindGone:
		_, err = decodeGone(keySeq(key), payload)
	case kindMark:
		if n := len(payload); n == 0 || n > chunkSeqs/8 || payload[n-1] == 0 {
			return errors.New("it is no set of marks")
		}
		w.marks[keySeq(key)] = bytes.Clone(payload)
		w.saw(appendMarks(nil, keySeq(key), 0, payload[len(payload)-1:])[0] + uint64(len(payload)-1)*8)
	case kindRow:
		err = w.row(keySeq(key), payload)
	}
	return err
}

func (w *queueWalk) row(seq uint64, payload []byte) error {
	row, err := decodeRow(w.number, seq, payload)
	if err != nil {
		return err
	}
	w.saw(seq)
	for _, key := range rowIndex(&row) {
		w.index += maphash.Bytes(w.seed, key)
	}
	if !hasBody(w.bodies, w.number, seq) {
		w.rows[seq/chunkSeqs] = w.rows[seq/chunkSeqs].Add(Tally{1, row.Bytes})
	}
	return nil
}

func (w *queueWalk) saw(seq uint64) { w.highest = max(w.highest, seq) }

// keyLength returns how long keys of a kind are, 0 for what is none.
func keyLength(kind byte) int {
	switch kind {
	case kindCursor, kindCounts:
		return 1
	case kindGone, kindMark, kindRow:
		return 9
	case kindDue, kindExpiry, kindKey, kindWall:
		return 17
	}
	return 0
}

// keySeq returns the last number of a key.
func keySeq(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

func queueKey(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

// hasBody reports whether a queue's delivery of seq has its item outside the log.
func hasBody(bodies *bolt.Bucket, number uint32, seq uint64) bool {
	key := bodyKey(number, seq)
	found, _ := bodies.Cursor().Seek(key[:8])
	if found == nil || !bytes.HasPrefix(found, key[:8]) {
		return false // nothing of this seq
	}
	return len(found) == 8 || bodies.Get(key) != nil
}
