package store

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sort"
)

// Lost marks an item of which nothing is left but its seq and the queues that it was for: it takes the item's place in
// the stream, so that it can be settled.
type Lost struct {
	Bytes int64 // of the body that it had, as far as that is known
}

// A lostRange is seqs, first ≤ seq < end, whose items were durable and are damaged or missing.
type lostRange struct {
	first, end uint64
	bytes      int64    // of their bodies, as far as that is known
	to         []uint32 // the queues that they were for; ascending
}

func (r *lostRange) count() int64 { return int64(r.end - r.first) }

// bytesOf is what one of the seqs counts for: the first one has what does not divide.
func (r *lostRange) bytesOf(seq uint64) int64 {
	n := r.bytes / r.count()
	if seq == r.first {
		n += r.bytes % r.count()
	}
	return n
}

// tally is what the seqs in first ≤ seq < end count for.
func (r *lostRange) tally(first, end uint64) (t Tally) {
	if first, end = max(first, r.first), min(end, r.end); first >= end {
		return t
	}
	t = Tally{int64(end - first), int64(end-first) * (r.bytes / r.count())}
	if first == r.first {
		t.Bytes += r.bytes % r.count()
	}
	return t
}

// A damageRecord is what is durable of damage that was dealt with: it is not told again.
type damageRecord struct {
	serials []uint64    // of the segments; ascending
	lost    []lostRange // ascending and apart
}

func (d *damageRecord) has(serial uint64) bool {
	_, found := slices.BinarySearch(d.serials, serial)
	return found
}

// with returns the record with more in it. The ranges are none that it has.
func (d *damageRecord) with(serials []uint64, lost []lostRange) damageRecord {
	out := damageRecord{slices.Concat(d.serials, serials), slices.Concat(d.lost, lost)}
	slices.Sort(out.serials)
	out.serials = slices.Compact(out.serials)
	slices.SortFunc(out.lost, byFirst)
	return out
}

// lostAt returns the first range that ends above seq; nil if there is none.
func lostAt(lost []lostRange, seq uint64) *lostRange {
	if i := sort.Search(len(lost), func(i int) bool { return lost[i].end > seq }); i < len(lost) {
		return &lost[i]
	}
	return nil
}

// missing returns the parts of first to end that are in no range.
func missing(lost []lostRange, first, end uint64) (parts []hole) {
	for r := lostAt(lost, first); first < end; r = lostAt(lost, first) {
		if r == nil || r.first >= end {
			return append(parts, hole{first: first, end: end})
		}
		if r.first > first {
			parts = append(parts, hole{first: first, end: r.first})
		}
		first = r.end
	}
	return parts
}

// tombstonesMost bounds the items of one block of tombstones.
const tombstonesMost = 4096

// tombstones makes a block of what a range has from seq on and below end. What is behind that may be there again, as when a
// page was put back where it belongs.
func (r *lostRange) tombstones(seq, end uint64) *Block {
	mask := &Mask{To: r.to}
	b := &Block{First: seq, Group: seq, Masks: []*Mask{mask}, Items: make([]Item, min(end-seq, tombstonesMost))}
	for i := range b.Items {
		at := seq + uint64(i)
		b.Items[i] = Item{Seq: at, Mask: mask, Lost: &Lost{r.bytesOf(at)}}
	}
	return b
}

// addDamage makes it durable, in both meta pages, that damage was dealt with: a start that falls back on the commit
// before knows it too.
func (q *queues) addDamage(serials []uint64, lost []lostRange) error {
	room := int64(64 << 10)
	for i := range lost {
		room += 40 + 5*int64(len(lost[i].to))
	}
	_, err := q.update(room, func(t *transaction) error {
		t.damage, t.recount = t.damage.with(serials, lost), true
		return nil
	})
	if err != nil {
		return err
	}
	_, err = q.update(0, func(*transaction) error { return nil })
	return err
}

// forgetDamage drops what is below the oldest segment, and every cursor and row.
func (t *transaction) forgetDamage(v logView) {
	if len(t.damage.serials)+len(t.damage.lost) == 0 {
		return // the lowest row is not looked for with each commit
	}
	below := min(v.oldest, t.q.lowestOwed())
	old := func(r lostRange) bool { return r.end <= below }
	gone := func(serial uint64) bool { return serial < v.serial }
	if slices.ContainsFunc(t.damage.lost, old) || slices.ContainsFunc(t.damage.serials, gone) {
		t.damage = damageRecord{slices.DeleteFunc(slices.Clone(t.damage.serials), gone), slices.DeleteFunc(slices.Clone(t.damage.lost), old)}
		t.q.pruned = 0 // what is gone as lost may be forgotten now
	}
}

// lowestOwed is at or below the lowest seq that a queue still wants, by its stream or by a row.
func (q *queues) lowestOwed() uint64 {
	q.mu.RLock()
	defer q.mu.RUnlock()
	low := ^uint64(0)
	for _, m := range q.queues {
		low = min(low, m.lowestOwed())
	}
	return low
}

// putDamage writes meta/damage: uvarint n; n × uvarint serial − the one before; uvarint n; n × (uvarint first − end of the
// one before, uvarint length, uvarint bytes, numbers). Without damage there is no such key.
func (t *transaction) putDamage(meta *entries) error {
	d := &t.damage
	if len(d.serials) == 0 && len(d.lost) == 0 {
		_, err := meta.delete(keyDamage)
		return err
	}
	b, last := binary.AppendUvarint(nil, uint64(len(d.serials))), uint64(0)
	for _, serial := range d.serials {
		b, last = binary.AppendUvarint(b, serial-last), serial
	}
	b, last = binary.AppendUvarint(b, uint64(len(d.lost))), 0
	for _, r := range d.lost {
		b = binary.AppendUvarint(binary.AppendUvarint(b, r.first-last), r.end-r.first)
		b = appendNumbers(binary.AppendUvarint(b, uint64(r.bytes)), r.to)
		last = r.end
	}
	return meta.put(keyDamage, b)
}

func decodeDamage(payload []byte) (d damageRecord, err error) {
	f, last := fields{b: payload}, uint64(0)
	for n := f.uvarint(); n > 0 && !f.bad; n-- {
		last += f.uvarint()
		d.serials = append(d.serials, last)
	}
	last = 0
	for n := f.uvarint(); n > 0 && !f.bad; n-- {
		r := lostRange{first: last + f.uvarint()}
		r.end = r.first + f.uvarint()
		r.bytes, r.to = int64(f.uvarint()), takeNumbers(&f)
		if last = r.end; r.end == r.first {
			f.bad = true
		}
		d.lost = append(d.lost, r)
	}
	return d, f.done()
}

// owedLost counts the seqs that some queue is still owed: its stream has not settled them, or a row without a body needs
// them.
func (q *queues) owedLost(lost []lostRange) (n int) {
	debts := q.debts()
	for i := range lost {
		r := &lost[i]
		rows := map[uint64]bool{}
		for _, d := range debts {
			refs, err := q.rowRefs(d.number, r.first, r.end)
			if err != nil {
				continue // what cannot be read is told by who needs it
			}
			for _, ref := range refs {
				rows[ref.seq] = rows[ref.seq] || !ref.body
			}
		}
		mask := &Mask{To: r.to}
		for seq := r.first; seq < r.end; seq++ {
			if rows[seq] || slices.ContainsFunc(debts, func(d debt) bool { return d.wants(seq, mask) }) {
				n++
			}
		}
	}
	return n
}

func byFirst(a, b lostRange) int { return cmp.Compare(a.first, b.first) }

// without returns the parts of a range that are not known to be lost.
func (r *lostRange) without(known []lostRange) (parts []lostRange) {
	for _, h := range missing(known, r.first, r.end) {
		parts = append(parts, lostRange{h.first, h.end, r.tally(h.first, h.end).Bytes, r.to})
	}
	return parts
}

// within returns the parts of ranges that are in a hole.
func within(lost []lostRange, h hole) (parts []lostRange) {
	for r := lostAt(lost, h.first); r != nil && r.first < h.end; r = lostAt(lost, r.end) {
		first, end := max(r.first, h.first), min(r.end, h.end)
		parts = append(parts, lostRange{first, end, r.tally(first, end).Bytes, r.to})
	}
	return parts
}

// joinLost makes one range of each seq, for all the queues that any of them is for, and joins neighbours that are alike.
// Each has one seq.
func joinLost(lost []lostRange) (out []lostRange) {
	slices.SortStableFunc(lost, byFirst)
	for i := 0; i < len(lost); {
		r := lost[i]
		for i++; i < len(lost) && lost[i].first == r.first; i++ {
			r.to = union(r.to, lost[i].to)
			r.bytes = max(r.bytes, lost[i].bytes)
		}
		out = appendLost(out, r)
	}
	return out
}

// spread says what the seqs of gaps were for: of which blocks nothing is left but how many of them each queue had. The
// first ones are taken for its, or for a queue with a number above given, which was made since, the last ones.
func spread(gaps []hole, per []queueTally, given uint32) (lost []lostRange) {
	at, n := int64(0), int64(0)
	for _, gap := range gaps {
		n += int64(gap.end - gap.first)
	}
	for _, gap := range gaps {
		for first := gap.first; first < gap.end; {
			r := lostRange{first: first, end: gap.end}
			bytes := int64(0)
			for _, t := range per {
				begin, end := int64(0), t.Items
				if t.number > given {
					begin, end = max(0, n-t.Items), n
				}
				switch {
				case at < begin:
					r.end = min(r.end, first+uint64(begin-at))
				case at < end:
					r.to = append(r.to, t.number)
					r.end = min(r.end, first+uint64(end-at))
					bytes = max(bytes, t.Bytes/t.Items)
				}
			}
			r.bytes = bytes * r.count()
			lost = append(lost, r)
			at, first = at+r.count(), r.end
		}
	}
	return lost
}

// noneNewer is above all numbers of queues.
const noneNewer = math.MaxUint32

// given is the highest number of a queue that was given when the segment before one began.
func (l *segmentLog) given(i int) uint32 {
	for _, g := range slices.Backward(l.segs[:i]) {
		if !g.headless {
			return g.header.QueueNumber
		}
	}
	return noneNewer
}

// Lost reports whether the item of a queue's row is known to be lost: what the log had of it is damaged or missing, and
// nothing outside the log has it. It reads no segment.
func (s *Store) Lost(queue uint32, seq uint64) (bool, error) {
	if _, lost := s.log.lostItem(seq); !lost {
		return false, nil
	}
	_, found, err := s.queues.body(queue, seq)
	return err == nil && !found, err
}

// lostTime is the time of an item that is lost, where what is left of its segment tells it: the header of a block has the
// time of its first item, and as times never go back, what stands between two items of one time is of that time. 0: it is
// not known.
func (l *segmentLog) lostTime(seq uint64) int64 {
	g := l.locate(seq)
	if g == nil || seq < g.first {
		return 0
	}
	v := l.view(g)
	i := sort.Search(len(v.found), func(i int) bool { return v.found[i].end() > seq })
	before := int64(0)
	switch {
	case i < len(v.found) && v.found[i].First <= seq:
		before = v.found[i].Time
		if v.found[i].First == seq {
			return before
		}
	case i > 0:
		before = l.timeAt(&v, v.found[i-1].end()-1)
	}
	after, lost := seq+1, l.record().lost
	for r := lostAt(lost, after); r != nil && r.first <= after; r = lostAt(lost, after) {
		after = r.end
	}
	if before == 0 || before != l.timeAt(&v, after) {
		return 0
	}
	return before
}

// timeAt is the time of an item that may be lost or in another segment: 0, if the header of its block does not tell.
func (l *segmentLog) timeAt(v *view, seq uint64) int64 {
	if b := v.foundAt(seq); b != nil && b.First == seq {
		return b.Time
	}
	it, err := l.itemIn(v, seq)
	if err != nil {
		return 0
	}
	return it.Time
}

// HasLost reports whether any item is known to be lost. It costs next to nothing.
func (s *Store) HasLost() bool { return s.log.lossy.Load() }

// LostIn reports whether any seq, first ≤ seq < end, is known to be lost.
func (s *Store) LostIn(first, end uint64) bool {
	r := lostAt(s.log.record().lost, first)
	return r != nil && r.first < end
}

// LostTo returns the queues that a lost item was for, ascending; nil for one that is not known to be lost. It reads nothing.
func (s *Store) LostTo(seq uint64) []uint32 {
	it, lost := s.log.lostItem(seq)
	if !lost {
		return nil
	}
	return it.Mask.To
}
