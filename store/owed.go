package store

import (
	"iter"
	"slices"
	"sort"
)

// Segments returns the segments of the log, oldest first. Bytes is what they take of the disk.
//
// It reads no payload but once for a segment that is free because of marks and not because every cursor is past it:
// then the blocks tell whether the marks are those of its items.
func (s *Store) Segments() []Segment {
	debts := s.queues.debts()
	var out []Segment
	for _, v := range s.log.views() {
		out = append(out, s.segment(v, debts))
	}
	return out
}

// Free reports whether nothing is owed from the segment: Release takes it. Until then it can be read.
func (g Segment) Free() bool { return g.Sealed && !g.Owed }

func (s *Store) segment(v view, debts []debt) Segment {
	g := Segment{
		Serial: v.seg.serial, First: v.seg.first, End: v.end, Bytes: v.allocated, Sealed: v.sealed, Newest: v.lastTime,
	}
	byMarks := false
	for i := range debts {
		t, settled := debts[i].most(&v)
		g.Owes = g.Owes.Add(t)
		byMarks = byMarks || settled
	}
	rows := s.owedRows(v.seg.first, v.end)
	g.Rows = int(rows.Items)
	if g.Owes.Items == 0 && g.Rows == 0 && byMarks && v.sealed && !s.settled(v) {
		g.Owes = Tally{v.items, v.bytes}
	}
	g.Owes = g.Owes.Add(rows)
	g.Owes = Tally{min(g.Owes.Items, v.items), min(g.Owes.Bytes, v.bytes)}
	g.Owed = g.Owes.Items > 0 || rows.Items > 0
	return g
}

// owedRows counts the rows with first ≤ seq < end that need the log: their items are there, and in no body.
func (s *Store) owedRows(first, end uint64) Tally {
	rows := s.queues.owedBetween(first, end)
	if rows.Items == 0 {
		return rows
	}
	lost := s.log.record().lost
	for r := lostAt(lost, first); r != nil && r.first < end; r = lostAt(lost, r.end) {
		for _, d := range s.queues.debts() {
			refs, err := s.queues.rowRefs(d.number, max(first, r.first), min(end, r.end))
			if err != nil {
				continue // what cannot be read is told by who needs it
			}
			for _, ref := range refs {
				if !ref.body {
					rows = rows.Sub(Tally{1, ref.bytes})
				}
			}
		}
	}
	return rows
}

// Free returns the serials of the sealed segments that nothing is owed from: every queue's durable cursor is past
// them, or all that they have for it is marked, and no row needs them. Until it is released a free segment can be read.
func (s *Store) Free() []uint64 {
	var serials []uint64
	for _, g := range s.Segments() {
		if g.Free() {
			serials = append(serials, g.Serial)
		}
	}
	return serials
}

// settled looks into the blocks of a segment of which the number of marks says that nothing is owed: marks of items
// that are not the queue's own must not free it. The answer is kept.
func (s *Store) settled(v view) bool {
	known, sum := s.queues.verdict(v.seg.serial), s.queues.settledSum(v.seg.first, v.end)
	if known.sum == sum && known.asked {
		return known.free
	}
	free := true
	for it, err := range s.Owed(v.seg.serial) {
		if err != nil || len(it.Stream) > 0 {
			free = false
			break
		}
	}
	s.queues.judged(v.seg.serial, verdict{true, free, sum})
	return free
}

// A verdict is what settled found when the queues had settled so much.
type verdict struct {
	asked, free bool
	sum         uint64
}

// settledSum changes when a queue settles anything of a range.
func (q *queues) settledSum(first, end uint64) uint64 {
	sum := uint64(0)
	for _, d := range q.debts() {
		if d.cursor < end {
			sum += 31*(max(d.cursor, first)-first) + uint64(d.marks.count(max(first, d.cursor), end)) + uint64(d.number)<<32
		}
	}
	return sum
}

func (q *queues) verdict(serial uint64) verdict {
	q.verdictMu.Lock()
	defer q.verdictMu.Unlock()
	return q.verdicts[serial]
}

func (q *queues) judged(serial uint64, v verdict) {
	q.verdictMu.Lock()
	defer q.verdictMu.Unlock()
	if q.verdicts == nil {
		q.verdicts = map[uint64]verdict{}
	}
	q.verdicts[serial] = v
}

func (q *queues) forgetVerdicts(serials []uint64) {
	q.verdictMu.Lock()
	defer q.verdictMu.Unlock()
	for _, serial := range serials {
		delete(q.verdicts, serial)
	}
}

// An OwedItem is an item that some queue still needs from the log.
type OwedItem struct {
	Item   Item     // it points into its block's buffer
	Stream []uint32 // queues whose stream has still to see it, ascending
	Rows   []uint32 // queues that have a row of it and no body, ascending
}

// Owed yields the items of a segment that some queue still needs from it, ascending, as cursors, marks and rows were
// durable when it began; what was settled since is for the caller to know. Of a frozen queue every item of its range
// counts that is not settled, as the store cannot tell what its match takes. Blocks that hold nothing of it are not read.
//
// What Owed yields can leave the segment: commit a Body for all queues, for each queue in Stream a row in state ready that
// owes, and Marks that include its seq. Then the segment is free.
//
// An error ends it: ErrReleased, or a *DamageError. It may run beside any other call.
func (s *Store) Owed(serial uint64) iter.Seq2[OwedItem, error] {
	return func(yield func(OwedItem, error) bool) {
		v, found := s.log.viewOf(serial)
		if !found {
			yield(OwedItem{}, ErrReleased)
			return
		}
		o, err := s.queues.owing(v.seg.first, v.end)
		if err == nil {
			err = s.log.owed(v, o, func(it OwedItem) bool { return yield(it, nil) })
		}
		if err != nil && v.seg.gone.Load() {
			err = ErrReleased
		}
		if err != nil {
			yield(OwedItem{}, err)
		}
	}
}

// viewOf returns the segment with a serial.
func (l *segmentLog) viewOf(serial uint64) (view, bool) {
	for _, v := range l.views() {
		if v.seg.serial == serial {
			return v, true
		}
	}
	return view{}, false
}

// owing is what the queues still want of one segment.
type owing []owingQueue

type owingQueue struct {
	debt
	rows []rowRef // ascending
}

// owing asks for debts first: a delivery that leaves the stream in between is then found among the rows.
func (q *queues) owing(first, end uint64) (owing, error) {
	var out owing
	for _, d := range q.debts() {
		rows, err := q.rowRefs(d.number, first, end)
		if err != nil {
			return nil, err
		}
		out = append(out, owingQueue{d, rows})
	}
	return out, nil
}

// row finds the first row at or above a seq.
func (o *owingQueue) row(seq uint64) (rowRef, bool) {
	i := sort.Search(len(o.rows), func(i int) bool { return o.rows[i].seq >= seq })
	if i == len(o.rows) {
		return rowRef{}, false
	}
	return o.rows[i], true
}

// within reports whether anything may be owed of blocks with first ≤ seq < end, whose masks name these queues.
func (o owing) within(first, end uint64, named func(number uint32) bool) bool {
	return slices.ContainsFunc(o, func(q owingQueue) bool {
		r, found := q.row(first)
		return found && r.seq < end || q.debt.within(first, end, named(q.number))
	})
}

// of says who is owed an item.
func (o owing) of(it *Item) (stream, rows []uint32) {
	for i := range o {
		q := &o[i]
		if r, found := q.row(it.Seq); found && r.seq == it.Seq {
			if !r.body {
				rows = append(rows, q.number)
			}
		} else if q.wants(it.Seq, it.Mask) {
			stream = append(stream, q.number)
		}
	}
	return stream, rows
}

// owed reads the blocks of a segment that may hold something that is owed.
func (l *segmentLog) owed(v view, o owing, visit func(OwedItem) bool) error {
	within := func(h *blockHeader, r *blockReader) bool { return o.within(h.First, h.end(), r.wants) }
	return l.eachItem(v.seg, indexSpan, o.skip, within, func(it *Item) bool {
		stream, rows := o.of(it)
		return len(stream) == 0 && len(rows) == 0 || visit(OwedItem{*it, stream, rows})
	})
}

// skip returns the first offset at or after off where a stretch begins that may hold something owed. An offset within a
// stretch is returned as it is.
func (o owing) skip(v *view, off int64) int64 {
	x := &v.index
	i := sort.Search(len(x.entries), func(i int) bool { return int64(x.entries[i].Off) >= off })
	for ; i < len(x.entries) && int64(x.entries[i].Off) == off; i++ {
		next, end := x.open, v.end
		if i+1 < len(x.entries) {
			next, end = int64(x.entries[i+1].Off), x.entries[i+1].Seq
		} else if x.newest.used {
			end = x.newest.seq
		}
		union := x.unions[x.entries[i].Union]
		named := func(number uint32) bool { _, ok := slices.BinarySearch(union, number); return ok }
		if o.within(x.entries[i].Seq, end, named) {
			return off
		}
		off = next
	}
	return off
}
