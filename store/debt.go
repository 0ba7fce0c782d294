package store

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// A markSet is a queue's marks as they are on disk: chunk → bitset. It is replaced, and never changed in place.
type markSet map[uint64][]byte

// makeMarkSet takes what encodeMarks made.
func makeMarkSet(keys, sets [][]byte) markSet {
	s := make(markSet, len(keys))
	for i, key := range keys {
		s[keySeq(key)] = sets[i]
	}
	return s
}

func (s markSet) has(seq uint64) bool {
	set, bit := s[seq/chunkSeqs], seq%chunkSeqs
	return bit/8 < uint64(len(set)) && set[bit/8]&(1<<(bit%8)) != 0
}

// count returns how many marks have first ≤ seq < end.
func (s markSet) count(first, end uint64) (n int64) {
	for chunk := first / chunkSeqs; chunk*chunkSeqs < end; chunk++ {
		set := s[chunk]
		low, high := max(first, chunk*chunkSeqs)-chunk*chunkSeqs, min(end-chunk*chunkSeqs, chunkSeqs)
		n += countBits(set, low, min(high, 8*uint64(len(set))))
	}
	return n
}

// countBits counts the bits low ≤ i < high of a set that has them all.
func countBits(set []byte, low, high uint64) (n int64) {
	for low < high {
		if low%64 == 0 && high-low >= 64 {
			n += int64(bits.OnesCount64(binary.NativeEndian.Uint64(set[low/8:])))
			low += 64
			continue
		}
		n += int64(set[low/8] >> (low % 8) & 1)
		low++
	}
	return n
}

// A debt is what one queue still wants of the log, as it was durable at one moment: the items whose mask has its number,
// and, if it is frozen, all of its range, as the store cannot tell what its match takes; less what is settled.
type debt struct {
	number      uint32
	cursor      uint64
	marks       markSet
	first, last uint64 // frozen: first ≤ seq < last, whatever the mask
}

// debts returns those of all queues, by number.
func (q *queues) debts() []debt {
	q.mu.RLock()
	defer q.mu.RUnlock()
	var out []debt
	for _, sink := range q.sinks {
		for _, sq := range sink.Queues {
			m := q.queues[sq.Number]
			d := debt{number: sq.Number, cursor: m.cursor, marks: m.marks}
			if !sq.Live {
				d.first, d.last = sq.From, sq.End
			}
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b debt) int { return cmp.Compare(a.number, b.number) })
	return out
}

// wants reports whether the stream of the queue has still to see an item.
func (d *debt) wants(seq uint64, m *Mask) bool {
	return seq >= d.cursor && (m.Has(d.number) || d.first <= seq && seq < d.last) && !d.marks.has(seq)
}

// within reports whether the queue may want anything of blocks with first ≤ seq < end, some of which name it in a mask.
func (d *debt) within(first, end uint64, named bool) bool {
	return end > d.cursor && (named || max(first, d.first) < min(end, d.last))
}

// most is at most so much as the queue's stream may still want of a segment. settled: it is nothing, but only because
// marks say so.
func (d *debt) most(v *view) (t Tally, settled bool) {
	first := max(v.seg.first, d.cursor)
	if first >= v.end || v.items == 0 {
		return Tally{}, false
	}
	t = v.of(d.number)
	if from, to := max(first, d.first), min(v.end, d.last); from < to {
		t = Tally{min(v.items, t.Items+int64(to-from)), v.bytes}
	}
	if t.Items == 0 {
		return Tally{}, false
	}
	if t.Items -= d.marks.count(first, v.end); t.Items <= 0 {
		return Tally{}, true
	}
	return t, false
}

// A queueTally is how much of a segment has a queue in its mask.
type queueTally struct {
	number uint32
	Tally
}

func byNumber(t queueTally, number uint32) int { return cmp.Compare(t.number, number) }

// of returns what a segment has for a queue; all of it where that is not known.
func (st *segmentState) of(number uint32) Tally {
	if st.queues == nil {
		return Tally{st.items, st.bytes}
	}
	if i, ok := slices.BinarySearchFunc(st.queues, number, byNumber); ok {
		return st.queues[i].Tally
	}
	return Tally{}
}

// addTallies adds a block's masks to a copy of old.
func addTallies(old []queueTally, masks []*Mask, tallies []Tally) []queueTally {
	out := append(make([]queueTally, 0, len(old)), old...)
	for i, m := range masks {
		for _, number := range m.To {
			at, ok := slices.BinarySearchFunc(out, number, byNumber)
			if !ok {
				out = slices.Insert(out, at, queueTally{number: number})
			}
			out[at].Tally = out[at].Add(tallies[i])
		}
	}
	return out
}

func appendTallies(b []byte, queues []queueTally) []byte {
	if queues == nil {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(queues)))
	last := uint32(0)
	for _, q := range queues {
		b = binary.AppendUvarint(b, uint64(q.number-last))
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(q.Items)), uint64(q.Bytes))
		last = q.number
	}
	return b
}

func (u *unpacker) queueTallies() []queueTally {
	n := u.count(3)
	out := make([]queueTally, 0, n)
	last := uint32(0)
	for i := range n {
		d := u.uint32()
		if i > 0 && d == 0 || last+d < last {
			u.fail()
			return nil
		}
		last += d
		out = append(out, queueTally{last, Tally{int64(u.uvarint()), int64(u.uvarint())}})
	}
	return out
}
