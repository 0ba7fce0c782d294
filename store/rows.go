package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// readMost is how many entries one reading transaction looks at: long ones keep pages from being used again, and hold
// up a commit that has to map the file anew.
const readMost = 4096

// queueBucket returns a queue's bucket as a reading transaction sees it, ErrNotFound where there is none.
func (q *queues) queueBucket(tx *bolt.Tx, number uint32) (*entries, error) {
	b := tx.Bucket(bucketQueues).Bucket(queueKey(number))
	if b == nil {
		return nil, ErrNotFound
	}
	return &entries{q: q, name: queueName(number), b: b, number: number}, nil
}

func (q *queues) loadQueue(number uint32) (QueueState, error) {
	s := QueueState{Number: number}
	err := q.view(func(tx *bolt.Tx) error {
		e, err := q.queueBucket(tx, number)
		if err != nil {
			return err
		}
		cursor, found, err := e.get([]byte{kindCursor})
		if err != nil || !found || len(cursor) != 8 {
			return cmpError(err, q.damaged(e.name, []byte{kindCursor}, "it is missing"))
		}
		s.Cursor = binary.BigEndian.Uint64(cursor)
		counts, _, err := e.get([]byte{kindCounts})
		if err != nil {
			return err
		}
		if s.Counts, _, err = decodeCounts(counts); err != nil {
			return q.damage(e.name, []byte{kindCounts}, err)
		}
		for _, key := range e.keys([]byte{kindMark}, math.MaxInt) {
			set, _, err := e.get(key)
			if err != nil {
				return err
			}
			s.Marks = appendMarks(s.Marks, keySeq(key), s.Cursor, set)
		}
		return nil
	})
	return s, err
}

// cmpError returns the first of two errors that is one.
func cmpError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (q *queues) row(number uint32, seq uint64) (r Row, found bool, err error) {
	err = q.view(func(tx *bolt.Tx) error {
		e, err := q.queueBucket(tx, number)
		if err != nil {
			return err
		}
		r, found, err = (&queueTx{e: e}).row(seq)
		return err
	})
	return r, found, err
}

// rowsFrom collects rows in the order of an index: scan lists the seqs of at most readMost entries from seq on, and
// where to go on, 0 for nowhere.
func (q *queues) rowsFrom(number uint32, from uint64, limit int, keep func(*Row) bool,
	scan func(e *entries, from uint64) ([]uint64, uint64)) ([]Row, error) {
	var rows []Row
	for more := true; more && len(rows) < limit; {
		err := q.view(func(tx *bolt.Tx) error {
			e, err := q.queueBucket(tx, number)
			if err != nil {
				return err
			}
			seqs, next := scan(e, from)
			for _, seq := range seqs {
				r, err := (&queueTx{e: e}).indexed(seq)
				if err != nil {
					return err
				}
				if keep(&r) && len(rows) < limit {
					rows = append(rows, r)
				}
			}
			from, more = next, next != 0
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// scanPrefix lists the seqs under a key prefix.
func scanPrefix(prefix []byte, limit int) func(*entries, uint64) ([]uint64, uint64) {
	return func(e *entries, from uint64) (seqs []uint64, next uint64) {
		c := e.b.Cursor()
		key := binary.BigEndian.AppendUint64(bytes.Clone(prefix), from)
		for k, _ := c.Seek(key); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			if len(seqs) == limit {
				return seqs, keySeq(k)
			}
			seqs = append(seqs, keySeq(k))
		}
		return seqs, 0
	}
}

func (q *queues) rows(number uint32, from uint64, limit int, states []RowState) ([]Row, error) {
	most := readMost
	if len(states) == 0 {
		most = min(most, limit)
	}
	keep := func(r *Row) bool { return len(states) == 0 || slices.Contains(states, r.State) }
	return q.rowsFrom(number, from, limit, keep, scanPrefix([]byte{kindRow}, most))
}

func (q *queues) readyRows(number uint32, from uint64, limit int) ([]Row, error) {
	prefix := key2(kindDue, sortable(0), 0)[:9]
	return q.rowsFrom(number, from, limit, func(*Row) bool { return true }, scanPrefix(prefix, min(limit, readMost)))
}

func (q *queues) gone(number uint32, seq uint64) (reason Reason, found bool, err error) {
	err = q.view(func(tx *bolt.Tx) error {
		e, err := q.queueBucket(tx, number)
		if err != nil {
			return err
		}
		ranges, err := (&queueTx{e: e}).goneAround(Gone{First: seq, Last: seq})
		for _, g := range ranges {
			if g.First <= seq && seq <= g.Last {
				reason, found = g.Reason, true
			}
		}
		return err
	})
	return reason, found, err
}

// body returns the item of seq where it is kept outside the log: as it was edited for that queue, else as it was
// evacuated.
func (q *queues) body(number uint32, seq uint64) (it Item, found bool, err error) {
	err = q.view(func(tx *bolt.Tx) error {
		e := &entries{q: q, name: "bodies", b: tx.Bucket(bucketBodies)}
		key := bodyKey(number, seq)
		payload, ok, err := e.get(key)
		if err == nil && !ok {
			key = bodyKey(0, seq)
			payload, ok, err = e.get(key)
		}
		if err != nil || !ok {
			return err
		}
		found = true
		if it, err = decodeBody(seq, payload); err != nil {
			return q.damage(e.name, key, err)
		}
		return nil
	})
	return it, found, err
}

func (q *queues) acks(from uint64, limit int) (acks []Ack, err error) {
	err = q.view(func(tx *bolt.Tx) error {
		e := &entries{q: q, name: "acks", b: tx.Bucket(bucketAcks)}
		seqs, _ := scanPrefix(nil, min(limit, readMost))(e, from)
		for _, seq := range seqs {
			key := binary.BigEndian.AppendUint64(nil, seq)
			payload, _, err := e.get(key)
			if err != nil {
				return err
			}
			time, err := decodeAck(payload)
			if err != nil {
				return q.damage(e.name, key, err)
			}
			acks = append(acks, Ack{seq, time})
		}
		return nil
	})
	return acks, err
}

// decodeAck is what an ack's payload says: the time of its item's id; 0 if it is empty.
func decodeAck(payload []byte) (time int64, err error) {
	switch len(payload) {
	case 0:
		return 0, nil
	case 8:
		return int64(binary.BigEndian.Uint64(payload)), nil
	}
	return 0, errors.New("it has not the length of a time")
}

// owedBetween counts the rows with first ≤ seq < end whose item is only in the log, and the bytes of their bodies. Memory
// answers but for the two chunks at the ends, which are looked up where they hold rows at all. Whoever decides that a
// segment may go asks for debts first: a delivery that leaves the stream in between then is still seen here.
func (q *queues) owedBetween(first, end uint64) Tally {
	var t Tally
	var partial []span
	q.mu.RLock()
	for number, m := range q.queues {
		for chunk, rows := range m.rows {
			low, high := max(chunk*chunkSeqs, first), min((chunk+1)*chunkSeqs, end)
			switch {
			case low >= high:
			case high-low == chunkSeqs:
				t = t.Add(rows)
			default:
				partial = append(partial, span{number, low, high, rows})
			}
		}
	}
	q.mu.RUnlock()
	for _, s := range partial {
		t = t.Add(q.countOwed(s))
	}
	return t
}

// A span is a part of a chunk of a queue, and the rows without a body that the whole chunk has.
type span struct {
	number     uint32
	first, end uint64
	rows       Tally
}

// countOwed counts rows without a body in the file. What cannot be read is counted as owed.
func (q *queues) countOwed(s span) Tally {
	var t Tally
	refs, err := q.rowRefs(s.number, s.first, s.end)
	if err != nil {
		return s.rows
	}
	for _, r := range refs {
		if !r.body {
			t = t.Add(Tally{1, r.bytes})
		}
	}
	return t
}

// A rowRef is a row as far as the log is concerned.
type rowRef struct {
	seq   uint64
	bytes int64
	body  bool // its item is outside the log
}

// rowRefs lists a queue's rows with first ≤ seq < end.
func (q *queues) rowRefs(number uint32, first, end uint64) ([]rowRef, error) {
	var refs []rowRef
	for more := true; more; {
		err := q.view(func(tx *bolt.Tx) error {
			e, err := q.queueBucket(tx, number)
			if err != nil {
				return err
			}
			c, n := e.b.Cursor(), 0
			more = false
			for k, _ := c.Seek(key1(kindRow, first)); k != nil && k[0] == kindRow && keySeq(k) < end; k, _ = c.Next() {
				if n++; n > readMost {
					first, more = keySeq(k), true
					return nil
				}
				r, _, err := (&queueTx{e: e}).row(keySeq(k))
				if err != nil {
					return err
				}
				refs = append(refs, rowRef{r.Seq, r.Bytes, hasBody(tx.Bucket(bucketBodies), number, r.Seq)})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return refs, nil
}
