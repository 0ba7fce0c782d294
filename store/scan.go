package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// scanAll reads the segments that have no footer, and finds out where the log ends.
func (l *segmentLog) scanAll(known logState) error {
	for i, g := range l.segs {
		l.seq = max(l.seq, g.first, g.header.Highest+1)
		l.newest = max(l.newest, g.header.IDTime)
		if i < len(l.segs)-1 {
			if err := l.scanFull(g, l.segs[i+1], known); err != nil {
				return err
			}
		}
	}
	if len(l.segs) > 0 {
		if err := l.scanNewest(l.segs[len(l.segs)-1], known); err != nil {
			return err
		}
	}
	for _, g := range l.segs {
		l.seq = max(l.seq, g.end)
		l.newest = max(l.newest, g.lastTime)
	}
	return nil
}

// scanFull scans a segment that another follows: it ends where that one begins, or what was released between them,
// whatever stands behind.
func (l *segmentLog) scanFull(g, next *segment, known logState) error {
	if g.sealed {
		return l.scanSealed(g, known)
	}
	limit, _ := known.endOf(g, next)
	off, err := scanBlocks(g, limit, nil)
	if err != nil && !isStop(err) {
		return err
	}
	whole := g.end >= limit && !g.headless
	switch {
	case whole:
	case l.heals():
		return l.examineFull(g, next, known)
	case !zerosFrom(g.file, off, g.allocated):
		return readError(g, off, err)
	}
	g.index.close(g.size)
	return nil
}

// examineFull is scanFull of one that is damaged.
func (l *segmentLog) examineFull(g, next *segment, known logState) error {
	limit, sure := known.endOf(g, next)
	s, err := l.survey(g, g.file, g.allocated, limit)
	if err != nil {
		return err
	}
	x, err := l.examine(g, s, s.found)
	if err != nil {
		return err
	}
	if !sure {
		limit = 0
	}
	x.finish(limit, totals(g, next), known.Queues, l.hurt)
	l.note(g, x, false)
	g.become(x)
	return nil
}

// scanSealed examines a sealed segment of which the header is destroyed, unless that was done before: what else is damaged
// of it is told with that.
func (l *segmentLog) scanSealed(g *segment, known logState) error {
	if !g.headless || l.hurt.has(g.serial) {
		return nil
	}
	f, err := g.open()
	if err != nil {
		return err
	}
	s, err := l.survey(g, f, g.size, g.end)
	if err != nil {
		return g.named(err)
	}
	x, err := l.examine(g, s, s.found)
	if err != nil {
		return g.named(err)
	}
	x.finish(g.end, g.queues, known.Queues, l.hurt)
	l.note(g, x, false)
	g.become(x)
	return nil
}

// endOf is where a segment ended that has no footer and that another follows: there, or at what was released between
// them. sure is false where nobody can tell, as nothing from the segment on is owed: then its last block ends it.
func (known *logState) endOf(g, next *segment) (end uint64, sure bool) {
	if next.first <= known.OldestNeeded {
		return next.first, false // segments that every cursor is past leave no hole
	}
	for _, h := range known.Holes {
		if h.first < next.first && next.first <= h.end {
			if h.first <= g.first {
				return next.first, false // it was to be released too
			}
			return h.first, true
		}
	}
	return next.first, true
}

// become takes over what an examination found.
func (g *segment) become(x *examination) {
	x.allocated, x.keysFile, x.sealed = g.allocated, g.keysFile, g.sealed
	g.segmentState = x.segmentState
}

// scanNewest scans the segment that was written last. Its header says what was accepted before it.
func (l *segmentLog) scanNewest(g *segment, known logState) error {
	l.adopt(g)
	known.Synced = max(known.Synced, g.header.KeptEnd)
	n := len(l.hurt.lost)
	l.baseless = l.baseless || l.hurt.has(g.serial) || n > 0 && l.hurt.lost[n-1].end > g.first
	if g.sealed { // the ones behind it are missing
		if err := l.scanSealed(g, known); err != nil {
			return err
		}
		addAccepted(l.accepted, g.queues)
		l.missNext(g, known)
		return l.checkEnd(g, g.size, known)
	}
	var err error
	if !g.headless {
		err = l.scanTail(g, known)
	}
	if g.headless || l.heals() && isDamage(err) || l.givesUp(err) {
		l.adopt(g)
		l.baseless = true
		return l.examineNewest(g, known)
	}
	return err
}

// missNext notes that the newest segment is missing: one gets its footer when another follows it. What that one had beyond
// what queues.db knows of nobody can tell, unless the store was closed in order. Its serial is not given again.
func (l *segmentLog) missNext(g *segment, known logState) {
	if l.heals() && !l.hurt.has(g.serial+1) {
		l.wounds = append(l.wounds, wound{serial: g.serial + 1, unknown: !known.Clean})
	}
}

// scanTail follows the chain of blocks of the newest segment, and decides where it ends.
func (l *segmentLog) scanTail(g *segment, known logState) error {
	s := tailScan{log: l, seg: g}
	off, err := scanBlocks(g, 0, s.visit)
	if err != nil && !isStop(err) {
		return err
	}
	if known.Clean {
		s.settle()
		if !zerosFrom(g.file, off, g.allocated) {
			return readError(g, off, err)
		}
		l.active = g
	} else if err := s.judge(off, known); err != nil {
		return err
	}
	if l.heals() {
		if l.cutShort(g, known) {
			return g.damage(off, errCutShort)
		}
		l.baseless = l.baseless || max(g.end, l.torn.end) < known.Synced
		return nil
	}
	return l.checkEnd(g, off, known)
}

// withNewer adds to what the newest segment had the queues that were made since it began: what is missing behind it may have
// been for them too.
func (l *segmentLog) withNewer(near []queueTally, all []uint32) []queueTally {
	if len(near) == 0 || l.queueNo == 0 {
		return near
	}
	out := slices.Clone(near)
	for _, number := range all {
		if i, found := slices.BinarySearchFunc(out, number, byNumber); !found && number > l.queueNo {
			out = slices.Insert(out, i, queueTally{number, Tally{1, 0}})
		}
	}
	return out
}

var errCutShort = errors.New("the log was durable beyond its end")

// checkEnd misses what was durable behind the newest segment.
func (l *segmentLog) checkEnd(g *segment, off int64, known logState) error {
	end := max(g.end, g.due(), l.torn.end)
	if end >= known.Synced {
		return nil
	}
	l.baseless = true // what is missing was accepted, and no header counts it
	if known.OldestNeeded >= known.Synced {
		return nil
	}
	if !l.heals() {
		return g.damage(off, fmt.Errorf("the log ends before seq %d, and was durable to %d", end, known.Synced-1))
	}
	l.lose(max(end, known.OldestNeeded), known.Synced, l.withNewer(g.queues, known.Queues), known)
	return nil
}

// isStop reports whether an error means that no block follows, and not that the disk did not answer.
func isStop(err error) bool {
	return isDamage(readError(new(segment), 0, err))
}

// scanBlocks adds the blocks of a segment to its state, up to a seq if limit is not 0, and calls visit before each. It
// returns where it stopped, and why.
func scanBlocks(g *segment, limit uint64, visit func(h *blockHeader, off int64, r *blockReader)) (int64, error) {
	r := newBlockReader(g, g.file, g.allocated, readBytes)
	for off := g.start; ; {
		h, err := r.block(off)
		if err != nil {
			return off, err
		}
		if limit > 0 && h.First >= limit {
			return off, errNoBlock
		}
		if !follows(&h, g.end) {
			return off, g.damage(off, fmt.Errorf("the block begins at seq %d where %d was due", h.First, g.end))
		}
		if visit != nil {
			visit(&h, off, r)
		}
		g.add(&h, off, r.masks, r.tallies)
		g.look(&h, off, r)
		off += int64(h.size())
	}
}

func follows(h *blockHeader, end uint64) bool {
	return h.First == end || (h.Flags&blockGap != 0 && h.First > end)
}

// look counts keys, and finds the last time. An item that does not check is left for the reader to report.
func (st *segmentState) look(h *blockHeader, off int64, r *blockReader) {
	items, _, err := r.itemsOf(h, off)
	if err != nil {
		st.lastTime = max(st.lastTime, h.Time)
		return
	}
	for i := range items {
		if items[i].Dedupe != nil {
			st.keys++
		}
	}
	st.lastTime = items[len(items)-1].Time
}

// zerosFrom reports whether only zeros follow in a file.
func zerosFrom(f *os.File, off, size int64) bool { return lastNonzero(f, off, size) == off }

// lastNonzero returns the offset after the last byte from off on that is not zero.
func lastNonzero(f *os.File, off, size int64) int64 {
	b, zeros := make([]byte, readBytes), make([]byte, readBytes)
	last := off
	for off < size {
		n, err := f.ReadAt(b[:min(int64(len(b)), size-off)], off)
		if !bytes.Equal(b[:n], zeros[:n]) {
			last = off + int64(len(bytes.TrimRight(b[:n], "\x00")))
		}
		off += int64(n)
		if err != nil && n == 0 {
			if errors.Is(err, io.EOF) {
				break
			}
			return size
		}
	}
	return last
}
