package store

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// A hole is a range of seqs, first ≤ seq < end, that was released although some queue's cursor is not past it: nothing
// in it was owed. Without this record a start would take the missing segment for damage.
type hole struct {
	first, end uint64
	serial     uint64 // of the segment, where one is about to be released
}

// holes lists those of the segments to be released that leave a hole. Segments at the front which every cursor is past
// leave none.
func (l *segmentLog) holes(serials []uint64, lowestCursor uint64) []hole {
	var out []hole
	_, next := l.oldestSegment()
	for _, v := range l.releasable(serials) {
		front := v.seg.first == next
		if front && v.end <= lowestCursor {
			next = v.end
		} else if v.end > v.seg.first {
			out = append(out, hole{v.seg.first, v.end, v.seg.serial})
		}
	}
	return out
}

// addHoles makes holes durable, in both meta pages: a start that falls back on the commit before finds them too.
func (q *queues) addHoles(holes []hole) error {
	if len(holes) == 0 {
		return nil
	}
	_, err := q.update(int64(64<<10+32*len(holes)), func(t *transaction) error {
		t.holes = mergeHoles(append(slices.Clone(t.holes), holes...))
		return nil
	})
	if err != nil {
		return err
	}
	_, err = q.update(0, func(*transaction) error { return nil })
	return err
}

// mergeHoles sorts them, and joins those that touch.
func mergeHoles(holes []hole) []hole {
	slices.SortFunc(holes, func(a, b hole) int { return cmp.Compare(a.first, b.first) })
	var out []hole
	for _, h := range holes {
		if n := len(out); n > 0 && h.first <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, h.end)
			continue
		}
		out = append(out, hole{first: h.first, end: h.end})
	}
	return out
}

// covers reports whether holes, ascending and apart, leave nothing out of first to end.
func covers(holes []hole, first, end uint64) bool {
	return slices.ContainsFunc(holes, func(h hole) bool { return h.first <= first && end <= h.end })
}

// fillHoles forgets the holes below a seq that neither the log reaches back to nor a cursor.
func (t *transaction) fillHoles(below uint64) {
	gone := func(h hole) bool { return h.end <= below }
	if slices.ContainsFunc(t.holes, gone) {
		t.holes = slices.DeleteFunc(slices.Clone(t.holes), gone)
	}
}

// putHoles writes meta/holes: uvarint n; n × (uvarint first − end of the one before, uvarint length). Without holes there
// is no such key.
func (t *transaction) putHoles(meta *entries) error {
	if len(t.holes) == 0 {
		_, err := meta.delete(keyHoles)
		return err
	}
	b := binary.AppendUvarint(nil, uint64(len(t.holes)))
	last := uint64(0)
	for _, h := range t.holes {
		b = binary.AppendUvarint(binary.AppendUvarint(b, h.first-last), h.end-h.first)
		last = h.end
	}
	return meta.put(keyHoles, b)
}

func decodeHoles(payload []byte) ([]hole, error) {
	d := fields{b: payload}
	var holes []hole
	last := uint64(0)
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		h := hole{first: last + d.uvarint()}
		h.end = h.first + d.uvarint()
		last = h.end
		holes = append(holes, h)
	}
	return holes, d.done()
}
