package store

import (
	"cmp"
	"maps"
	"slices"
)

// A segment that is not there was released, or it is missing. A queue of which the cursor and the marks are whole tells them
// apart: what it has not settled was not released, and is lost. So does one of which the cursor is, where the holes are.
// Else nothing tells: a cursor may have gone on since the newest header was written. Then the stream leaves out what is not
// there, and how much it may have been is told.

// planGaps looks at the seqs that no segment has, and that some cursor is not past.
func (r *Rebuild) planGaps() {
	r.log.log.segs = r.log.segs
	sure, unsure := r.debts()
	low, holes, end := r.lowestCursor(), mergeHoles(slices.Clone(r.found.holes)), uint64(1)
	for i, g := range r.log.segs {
		if from := max(end, low); from < g.first && !covers(holes, from, g.first) {
			r.planGap(i, from, sure, unsure)
			r.released = append(r.released, hole{first: end, end: g.first})
		}
		end = max(end, g.end)
	}
	r.countSkipped()
}

func (r *Rebuild) lowestCursor() uint64 {
	low := ^uint64(0)
	for _, q := range r.queues {
		low = min(low, q.cursor)
	}
	return low
}

// debts are what the streams of the queues want, of those that tell for sure and of the others.
func (r *Rebuild) debts() (sure, unsure []debt) {
	holes := r.found.books.current() && !r.tree.lostIn(bucketMeta)
	for _, sink := range r.sinks {
		for _, sq := range sink.Queues {
			q, found := r.queues[sq.Number], r.found.queues[sq.Number]
			d := debt{number: sq.Number, cursor: q.cursor, marks: q.marks}
			if !sq.Live {
				d.first, d.last = sq.From, sq.End
			}
			if q.whole || holes && found != nil && found.cursor.current() && !q.rewound {
				sure = append(sure, d)
			} else {
				unsure = append(unsure, d)
			}
		}
	}
	return sure, unsure
}

// planGap looks at the seqs before a segment, from one on.
func (r *Rebuild) planGap(i int, from uint64, sure, unsure []debt) {
	for _, l := range r.log.log.lostBefore(i, from, slices.Sorted(maps.Keys(r.queues))) {
		for _, part := range l.without(r.found.damage.v.lost) {
			r.planLost(part, sure, unsure)
		}
	}
}

// planLost counts what is owed of a range that is in no segment, and records what is lost for sure.
func (r *Rebuild) planLost(part lostRange, sure, unsure []debt) {
	mask := &Mask{To: part.to}
	for seq := part.first; seq < part.end; seq++ {
		wants := func(d debt) bool { return d.wants(seq, mask) }
		switch {
		case slices.ContainsFunc(sure, wants):
			r.sums.Gone++
		case slices.ContainsFunc(unsure, wants):
			r.sums.Uncertain++
		default:
			continue
		}
		r.counted = appendLost(r.counted, lostRange{first: seq, end: seq + 1})
	}
	part.to = slices.DeleteFunc(slices.Clone(part.to), func(number uint32) bool {
		return !slices.ContainsFunc(sure, func(d debt) bool { return d.number == number })
	})
	if len(part.to) > 0 {
		r.lost = append(r.lost, part)
	}
}

// countSkipped counts what cursors that may be older than they were had to leave out, as no segment has it: each seq once,
// and no more than was accepted.
func (r *Rebuild) countSkipped() {
	var all []hole
	most := uint64(0)
	for _, q := range r.queues {
		for _, s := range q.skipped {
			parts := r.untold(s)
			n := seqsOf(parts)
			i, found := slices.BinarySearchFunc(r.log.segs, s.end, func(g *segment, seq uint64) int { return cmp.Compare(g.first, seq) })
			if found && !r.log.segs[i].headless {
				n = min(n, uint64(max(0, r.log.segs[i].header.Queues[q.number].Accepted.Items)))
			}
			all, most = append(all, parts...), most+n
		}
	}
	r.sums.Uncertain += int(min(most, seqsOf(mergeHoles(all))))
}

// untold returns the parts of a hole that were not counted, nor told by an earlier start.
func (r *Rebuild) untold(h hole) (parts []hole) {
	for _, p := range missing(r.counted, h.first, h.end) {
		parts = append(parts, missing(r.found.damage.v.lost, p.first, p.end)...)
	}
	return parts
}

func seqsOf(holes []hole) (n uint64) {
	for _, h := range holes {
		n += h.end - h.first
	}
	return n
}
