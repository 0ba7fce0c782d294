package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// A queueTx is one queue's bucket within a transaction.
type queueTx struct {
	e       *entries
	counts  Counts
	cursor  uint64
	marks   markSet          // as the change leaves them, if it is marked
	marked  bool             // the change replaces the marks
	rows    map[uint64]Tally // per chunk of seqs: change in the rows without a body
	deleted bool             // no sink has it any more
}

// finish writes the counts, which carry the number of entries.
func (qt *queueTx) finish() error {
	if qt.deleted {
		return nil
	}
	books := *qt.e // the counts do not count themselves
	return books.put([]byte{kindCounts}, encodeCounts(qt.counts, qt.e.n))
}

func (t *transaction) putQueues(changes []QueueChange) error {
	seen := map[uint32]bool{}
	for i := range changes {
		c := &changes[i]
		if seen[c.Number] {
			return &mistake{fmt.Sprintf("queue %d is changed twice", c.Number)}
		}
		seen[c.Number] = true
		qt, err := t.queue(c.Number)
		if err != nil {
			return err
		}
		if err := t.putQueue(qt, c); err != nil {
			return err
		}
	}
	return nil
}

func (t *transaction) putQueue(qt *queueTx, c *QueueChange) error {
	for i := range c.Rows {
		if err := t.putRow(qt, &c.Rows[i]); err != nil {
			return err
		}
	}
	for _, seq := range c.RowsGone {
		if err := t.dropRow(qt, seq); err != nil {
			return err
		}
	}
	for _, g := range c.Gone {
		if err := qt.putGone(g); err != nil {
			return err
		}
	}
	qt.counts = c.Counts
	if err := qt.putMarks(c.Marks, c.Cursor); err != nil {
		return err
	}
	return qt.setCursor(c.Cursor)
}

func (qt *queueTx) setCursor(seq uint64) error {
	qt.cursor = seq
	return qt.e.put([]byte{kindCursor}, binary.BigEndian.AppendUint64(nil, seq))
}

// row returns the row of seq as it stands.
func (qt *queueTx) row(seq uint64) (Row, bool, error) {
	key := key1(kindRow, seq)
	payload, found, err := qt.e.get(key)
	if err != nil || !found {
		return Row{}, false, err
	}
	r, err := decodeRow(qt.e.number, seq, payload)
	if err != nil {
		return Row{}, false, qt.e.q.damage(qt.e.name, key, err)
	}
	return r, true, nil
}

// indexed returns the row of seq, to which an index points.
func (qt *queueTx) indexed(seq uint64) (Row, error) {
	r, found, err := qt.row(seq)
	if err == nil && !found {
		err = qt.e.q.damaged(qt.e.name, key1(kindRow, seq), "an index points to it and it is not there")
	}
	return r, err
}

// putRow writes a row and moves its index entries.
func (t *transaction) putRow(qt *queueTx, r *Row) error {
	if r.State < RowReady || r.State > RowDead || r.Bytes < 0 {
		return &mistake{fmt.Sprintf("row %d in state %d", r.Seq, r.State)}
	}
	old, found, err := qt.row(r.Seq)
	if err != nil {
		return err
	}
	wanted := rowIndex(r)
	if found {
		if err := qt.dropIndex(&old, wanted); err != nil {
			return err
		}
	}
	if delta := owedMore(&old, r, found); delta != (Tally{}) && !hasBody(t.bodies.b, qt.e.number, r.Seq) {
		qt.owe(r.Seq, delta)
	}
	for _, key := range wanted {
		if err := qt.e.index(key); err != nil {
			return err
		}
	}
	return qt.e.put(key1(kindRow, r.Seq), appendRow(nil, qt.e.number, r))
}

// owedMore is how much more a row of the log is owed where it replaces another one, or none.
func owedMore(old, r *Row, found bool) Tally {
	if found {
		return Tally{0, r.Bytes - old.Bytes}
	}
	return Tally{1, r.Bytes}
}

// owe notes that a row without a body has come, gone or changed.
func (qt *queueTx) owe(seq uint64, delta Tally) {
	qt.rows[seq/chunkSeqs] = qt.rows[seq/chunkSeqs].Add(delta)
}

// dropRow removes a row, its index entries, and the body that was edited for it.
func (t *transaction) dropRow(qt *queueTx, seq uint64) error {
	old, found, err := qt.row(seq)
	if err != nil || !found {
		return err
	}
	if !hasBody(t.bodies.b, qt.e.number, seq) {
		qt.owe(seq, Tally{-1, -old.Bytes})
	}
	if t.bodies.n > 0 {
		t.suspect(0, seq)
		t.suspect(qt.e.number, seq)
	}
	if err := qt.dropIndex(&old, nil); err != nil {
		return err
	}
	_, err = qt.e.delete(key1(kindRow, seq))
	return err
}

// dropIndex removes the index entries of a row, but for those to keep.
func (qt *queueTx) dropIndex(r *Row, keep [][]byte) error {
	for _, key := range rowIndex(r) {
		if slices.ContainsFunc(keep, func(k []byte) bool { return string(k) == string(key) }) {
			continue
		}
		if _, err := qt.e.delete(key); err != nil {
			return err
		}
	}
	return nil
}

// putMarks replaces the stored set. Chunks that are equal are not written.
func (qt *queueTx) putMarks(marks []uint64, cursor uint64) error {
	if !slices.IsSorted(marks) {
		return &mistake{fmt.Sprintf("the marks of queue %d are not ascending", qt.e.number)}
	}
	below, _ := slices.BinarySearch(marks, cursor)
	keys, sets := encodeMarks(marks[below:])
	qt.marks, qt.marked = makeMarkSet(keys, sets), true
	for _, key := range qt.e.keys([]byte{kindMark}, math.MaxInt) {
		_, wanted := slices.BinarySearchFunc(keys, key, bytes.Compare)
		if wanted {
			continue
		}
		if _, err := qt.e.delete(key); err != nil {
			return err
		}
	}
	for i, key := range keys {
		if err := qt.e.put(key, sets[i]); err != nil {
			return err
		}
	}
	return nil
}

// putGone writes what of a range is not told yet: the first reason stays. A range that follows one of the same reason
// makes that one longer.
func (qt *queueTx) putGone(g Gone) error {
	if g.Last < g.First {
		return &mistake{fmt.Sprintf("gone from %d to %d", g.First, g.Last)}
	}
	stored, err := qt.goneAround(g)
	if err != nil {
		return err
	}
	for _, piece := range cutGone(stored, g) {
		before, found, err := qt.goneBefore(piece.First)
		if err != nil {
			return err
		}
		if found && before.Last+1 == piece.First && before.Reason == piece.Reason {
			piece.First = before.First
		}
		if err := qt.e.put(key1(kindGone, piece.First), encodeGone(piece)); err != nil {
			return err
		}
	}
	return nil
}

// cutGone returns the parts of g that none of the stored ranges, ascending and disjoint, covers.
func cutGone(stored []Gone, g Gone) []Gone {
	var pieces []Gone
	first := g.First
	for _, s := range stored {
		if s.Last < first || s.First > g.Last {
			continue
		}
		if s.First > first {
			pieces = append(pieces, Gone{first, s.First - 1, g.Reason})
		}
		if s.Last >= g.Last {
			return pieces
		}
		first = s.Last + 1
	}
	return append(pieces, Gone{first, g.Last, g.Reason})
}

// goneBefore returns the last range that begins below seq.
func (qt *queueTx) goneBefore(seq uint64) (Gone, bool, error) {
	c := qt.e.b.Cursor()
	k, _ := c.Seek(key1(kindGone, seq))
	if k == nil {
		k, _ = c.Last()
	} else {
		k, _ = c.Prev()
	}
	if k == nil || k[0] != kindGone {
		return Gone{}, false, nil
	}
	g, err := qt.gone(k)
	return g, err == nil, err
}

// goneAround lists the ranges that may touch g.
func (qt *queueTx) goneAround(g Gone) ([]Gone, error) {
	var out []Gone
	before, found, err := qt.goneBefore(g.First)
	if err != nil {
		return nil, err
	}
	if found {
		out = append(out, before)
	}
	c := qt.e.b.Cursor()
	for k, _ := c.Seek(key1(kindGone, g.First)); k != nil && k[0] == kindGone && keySeq(k) <= g.Last; k, _ = c.Next() {
		s, err := qt.gone(k)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (qt *queueTx) gone(key []byte) (Gone, error) {
	payload, _, err := qt.e.get(key)
	if err != nil {
		return Gone{}, err
	}
	g, err := decodeGone(keySeq(key), payload)
	if err != nil {
		return Gone{}, qt.e.q.damage(qt.e.name, key, err)
	}
	return g, nil
}

// prune removes up to n ranges that lie wholly below oldest, but for what was lost, as long as that is known.
func (qt *queueTx) prune(oldest uint64, n int, known []lostRange) (removed int, err error) {
	for from := []byte{kindGone}; ; {
		keys := qt.e.keys(from, n)
		for _, key := range keys {
			g, err := qt.gone(key)
			if err != nil {
				return removed, err
			}
			if g.Last >= oldest || removed == n {
				return removed, nil
			}
			if r := lostAt(known, g.First); g.Reason == GoneLost && r != nil && r.first <= g.Last {
				continue
			}
			if _, err := qt.e.delete(key); err != nil {
				return removed, err
			}
			removed++
		}
		if len(keys) < n {
			return removed, nil
		}
		from = append(bytes.Clone(keys[len(keys)-1]), 0)
	}
}

// suspect notes a body that may have lost its last row.
func (t *transaction) suspect(queue uint32, seq uint64) {
	t.suspects = append(t.suspects, Body{Queue: queue, Item: Item{Seq: seq}})
}

// putBodies stores items outside the log. Rows that get a body are not owed by the log any more.
func (t *transaction) putBodies(bodies []Body) error {
	for i := range bodies {
		b := &bodies[i]
		if err := t.cover(b.Queue, b.Item.Seq); err != nil {
			return err
		}
		if err := t.bodies.put(bodyKey(b.Queue, b.Item.Seq), appendBody(nil, &b.Item)); err != nil {
			return err
		}
		t.suspect(b.Queue, b.Item.Seq)
	}
	return nil
}

// cover takes the rows that a body is for off the log's account, unless another body did.
func (t *transaction) cover(queue uint32, seq uint64) error {
	numbers := []uint32{queue}
	if queue == 0 {
		numbers = t.numbers()
	}
	for _, number := range numbers {
		qt, err := t.queue(number)
		if err != nil {
			return err
		}
		r, found, err := qt.row(seq)
		if err != nil {
			return err
		}
		if found && !hasBody(t.bodies.b, number, seq) {
			qt.owe(seq, Tally{-1, -r.Bytes})
		}
	}
	return nil
}

// dropBodies removes the bodies that no row points to.
func (t *transaction) dropBodies() error {
	for _, b := range t.suspects {
		numbers := []uint32{b.Queue}
		if b.Queue == 0 {
			numbers = t.numbers()
		}
		if t.wanted(numbers, b.Item.Seq) {
			continue
		}
		if _, err := t.bodies.delete(bodyKey(b.Queue, b.Item.Seq)); err != nil {
			return err
		}
	}
	return nil
}

// wanted reports whether one of the queues has a row of seq.
func (t *transaction) wanted(numbers []uint32, seq uint64) bool {
	key := key1(kindRow, seq)
	return slices.ContainsFunc(numbers, func(number uint32) bool {
		qt, err := t.queue(number)
		return err == nil && qt.e.has(key)
	})
}
