package store

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// A newQueue is a queue's bucket as a rebuilt queues.db has it.
type newQueue struct {
	number  uint32
	cursor  uint64
	marks   markSet
	rows    map[uint64]Row
	gone    []Gone
	counts  Counts
	highest uint64

	first, last uint64 // frozen: first ≤ seq < last, whatever the mask

	whole    bool       // nothing of it was lost
	skipped  []hole     // seqs that its cursor left out, as no segment has them
	lost     []seqRange // rows may be, of these seqs
	rewound  bool       // the stream begins again where rows may have been lost
	low      uint64     // no row without a body is below it
	before   uint64     // where it began, if it is rewound: what is below may be settled
	had      markSet    // and what is marked
	repeated int        // rows of deliveries that may be settled
	reseen   int        // deliveries of the stream that may be settled
}

// rewindMost is how many seqs may be looked at for rows that were lost. Where there are more the stream begins again.
const rewindMost = 1 << 20

// planQueue takes what is current, all facts, and what is stale where rows may have been lost.
func (r *Rebuild) planQueue(sq SinkQueue) *newQueue {
	found := r.found.queues[sq.Number]
	if found == nil {
		found = newCarvedQueue()
	}
	q := &newQueue{number: sq.Number, marks: markSet{}, rows: map[uint64]Row{}, whole: found.whole(), highest: found.highest,
		low: 1, cursor: 1, counts: found.counts.v.Counts}
	facts := !q.whole && r.tree.newest // older versions count
	if found.cursor.current() || facts {
		q.cursor = max(found.cursor.v, 1)
	}
	if !sq.Live {
		q.low, q.cursor = max(sq.From, 1), max(q.cursor, sq.From)
		q.first, q.last = sq.From, sq.End
	}
	if h := r.log.header(); h != nil && (facts || !r.tree.rooted) {
		q.low, q.cursor = max(q.low, h.Queues[q.number].LowestOwed), max(q.cursor, h.Queues[q.number].Cursor)
	}
	if h := r.log.header(); h != nil && sq.Live && q.number > h.QueueNumber {
		q.low, q.cursor = max(q.low, h.First), max(q.cursor, h.First) // it was given later
	}
	for chunk, m := range found.marks {
		if m.current() || facts {
			q.marks[chunk] = slices.Clone(m.v)
		}
	}
	for _, g := range found.gone {
		if g.current() || facts {
			q.gone = append(q.gone, g.v)
		}
	}
	slices.SortFunc(q.gone, func(a, b Gone) int { return cmp.Compare(a.First, b.First) })
	for seq, row := range found.rows {
		if row.current() {
			q.rows[seq] = row.v
		}
	}
	if !q.whole {
		r.planLosses(q, found, !sq.Live)
		r.takeStale(q, found)
	}
	q.markRows()
	return q
}

// planLosses finds the seqs of which rows may have been lost.
func (r *Rebuild) planLosses(q *newQueue, found *carvedQueue, frozen bool) {
	told := false
	if q.lost, told = r.tree.rows(q.number); !told {
		q.lost = []seqRange{everything} // the counts say so, and no page does
	}
	span := uint64(0)
	for i := range q.lost {
		from := r.log.from(max(q.low, q.lost[i].first))
		span += max(min(q.lost[i].end, q.cursor), from) - from
	}
	if at := r.log.from(q.cursor); !found.cursor.current() {
		q.skip(q.cursor, at)
		q.cursor = at
	}
	if !found.cursor.current() && !r.tree.newest {
		q.lost = []seqRange{everything}
	}
	if span > rewindMost || len(q.lost) > 0 && (q.lost[0] == everything || frozen) {
		q.rewound, q.before, q.had = true, q.cursor, q.marks
		if found.cursor.rank == 0 {
			q.before = math.MaxUint64 // nobody knows
		}
		at := r.log.from(q.low)
		if !found.cursor.current() {
			q.skip(q.low, min(at, q.cursor)) // rows may have been about these
		}
		q.cursor = min(q.cursor, at)
		q.marks = markSet{}
		for _, g := range q.gone {
			for seq := max(g.First, q.cursor); seq <= g.Last && seq-g.First < rewindMost; seq++ {
				q.mark(seq)
			}
		}
	}
}

// skip notes that the stream leaves out first ≤ seq < end.
func (q *newQueue) skip(first, end uint64) {
	if first < end {
		q.skipped = mergeHoles(append(q.skipped, hole{first: first, end: end}))
	}
}

// takeStale takes rows of free pages where current ones may have been lost: what they are about is delivered once more,
// with the attempts that they know of. Also what died: it may have been requeued since.
func (r *Rebuild) takeStale(q *newQueue, found *carvedQueue) {
	for _, seq := range slices.Sorted(maps.Keys(found.rows)) {
		row := found.rows[seq].v
		inLog := r.log.has(seq)
		there := inLog || r.found.bodies[bodyPlace{seq, 0}].rank > 0 || r.found.bodies[bodyPlace{seq, q.number}].rank > 0
		if found.rows[seq].current() || !there || !q.mayMiss(seq, inLog) {
			continue
		}
		if row.State != RowNotDue {
			row.State, row.Next = RowReady, 0
		}
		row.Permanent = false
		q.rows[seq] = row
		q.repeated++
	}
}

// settled reports whether the stream is past a seq.
func (q *newQueue) settled(seq uint64) bool { return seq < q.cursor || q.marks.has(seq) }

// wants reports whether an item may be for the queue: a frozen one's match is opaque here, so that it wants all of its range.
func (q *newQueue) wants(it *Item) bool {
	return it.Mask.Has(q.number) || q.first <= it.Seq && it.Seq < q.last
}

// mayMiss reports whether a row of seq may have been lost which nothing else makes up for. inLog: the stream would find it.
func (q *newQueue) mayMiss(seq uint64, inLog bool) bool {
	if q.whole || inLog && !q.settled(seq) || !slices.ContainsFunc(q.lost, func(r seqRange) bool { return r.has(seq) }) {
		return false
	}
	if _, found := q.rows[seq]; found {
		return false
	}
	return !slices.ContainsFunc(q.gone, func(g Gone) bool { return g.First <= seq && seq <= g.Last })
}

// again makes a row for an item whose own may have been lost.
func (q *newQueue) again(it *Item) {
	row := Row{Seq: it.Seq, State: RowReady, Owes: true, Bytes: int64(len(it.Body)), KeyHash: KeyHash(it.Key)}
	if it.NotBefore != 0 {
		row.State, row.Next = RowNotDue, it.NotBefore
	}
	q.rows[it.Seq] = row
	q.repeated++
	q.mark(it.Seq)
}

// giveUp ends a delivery whose item is lost.
func (q *newQueue) giveUp(row Row) {
	delete(q.rows, row.Seq)
	q.gone = append(q.gone, Gone{row.Seq, row.Seq, GoneLost})
}

func (q *newQueue) markRows() {
	for seq := range q.rows {
		q.mark(seq)
	}
}

// mark notes that the stream need not see a seq.
func (q *newQueue) mark(seq uint64) {
	if seq < q.cursor {
		return
	}
	set, bit := q.marks[seq/chunkSeqs], seq%chunkSeqs
	for uint64(len(set)) <= bit/8 {
		set = append(set, 0)
	}
	set[bit/8] |= 1 << (bit % 8)
	q.marks[seq/chunkSeqs] = set
}

// fill looks through the log for deliveries whose rows may have been lost, and counts what a rewound stream sees again.
func (r *Rebuild) fill() error {
	var broken []*newQueue
	from := uint64(math.MaxUint64)
	for _, q := range r.queues {
		if q.whole {
			continue
		}
		broken, from = append(broken, q), min(from, q.cursor)
		for _, l := range q.lost {
			from = min(from, max(l.first, q.low))
		}
	}
	if len(broken) == 0 {
		return nil
	}
	wants := func(b *blockReader) bool {
		return slices.ContainsFunc(broken, func(q *newQueue) bool { return b.wants(q.number) })
	}
	return r.log.items(from, wants, func(it *Item) {
		for _, q := range broken {
			if it.Mask.Has(q.number) {
				q.see(it)
			}
		}
	})
}

// see takes an item of the log that is for the queue.
func (q *newQueue) see(it *Item) {
	switch {
	case !q.settled(it.Seq):
		if q.rewound && (it.Seq < q.before || q.had.has(it.Seq)) {
			q.reseen++
		}
	case it.Seq >= q.low && q.mayMiss(it.Seq, true):
		q.again(it)
	}
}
