package store

import (
	"errors"
	"fmt"
	"os"
)

// RewriteTail appends what checks of the last group commit again, to a new segment; the old one ends before it. So
// nothing depends any more on bytes of which only the page cache may know. Where nothing checks, the old one is cut. On a
// full disk ways are tried that need no more of it. After a clean start it does nothing. When it returns nil the items
// are durable, under their own seqs, and Append may follow. ErrFull, wrapped: nothing happened. It may be repeated after
// any crash.
func (s *Store) RewriteTail() error {
	if l := s.log; l.rewrite && len(l.torn.items) == 0 {
		// The seqs of what is cut are not given again. Nobody was told of them: a full disk is no reason not to start.
		v := s.logView()
		v.synced = s.noted
		if err := s.queues.note(v); err != nil && !errors.Is(err, ErrFull) {
			return fmt.Errorf("rewrite the tail: %w", err)
		}
	}
	return s.log.rewriteTail(s.queues.snapshot(), s.queues.lend)
}

func (l *segmentLog) rewriteTail(snap snapshot, lend func(func() error) error) error {
	if !l.rewrite {
		return nil
	}
	if err := l.endTail(&l.torn, snap, lend); err != nil {
		return fmt.Errorf("rewrite the tail: %w", err)
	}
	l.torn, l.rewrite = tornGroup{}, false
	return nil
}

// endTail makes the log end for good: what is kept is durable, and what is not will not come to life. Where a new
// segment does not fit, first come the ways that cost nobody anything.
func (l *segmentLog) endTail(t *tornGroup, snap snapshot, lend func(func() error) error) error {
	g := l.segs[len(l.segs)-1]
	f, err := g.open()
	if err != nil {
		return l.refuse("open", err)
	}
	if len(t.items) == 0 {
		return l.cut(g, f, g.size)
	}
	err = l.appendAgain(t, snap)
	if errors.Is(err, ErrFull) && t.whole != nil {
		err = l.keepInPlace(t, g, f)
	}
	if errors.Is(err, ErrFull) && t.reach < g.allocated {
		if err := l.cut(g, f, t.reach); err != nil { // zeros that were allocated ahead
			return err
		}
		err = l.appendAgain(t, snap)
	}
	if errors.Is(err, ErrFull) {
		err = lend(func() error {
			if err := l.appendAgain(t, snap); err != nil {
				return err
			}
			return l.cut(g, f, g.size) // what was lent comes from here again
		})
	}
	return err
}

// cut makes a segment's file shorter, durably.
func (l *segmentLog) cut(g *segment, f *os.File, size int64) error {
	err := l.ops.truncate(f, size)
	if err == nil {
		err = l.ops.fdatasync(f)
	}
	if err != nil {
		return l.fail("cut", g.named(err))
	}
	l.mu.Lock()
	g.allocated = size
	l.mu.Unlock()
	return nil
}

// appendAgain makes a segment that has the group when it gets its name, and takes no more disk than that.
func (l *segmentLog) appendAgain(t *tornGroup, snap snapshot) error {
	l.spareMu.Lock()
	defer l.spareMu.Unlock()
	g, b := l.newHeader(l.firstOfNew(0), snap, t.items)
	total := l.enc.plan(t.items, g.first, t.queueTime, t.positions)
	group, blocks := l.enc.encode(t.items, t.group, t.queueTime, g.seed, g.start, total)
	b = append(b, group...)
	spare, err := l.takeSpare(int64(len(b)))
	if err != nil {
		return l.refuse("new segment", err)
	}
	if err := l.install(spare, g, b); err != nil {
		return err
	}
	l.publish(g, blocks, t.positions)
	return nil
}

// keepInPlace writes a whole group over itself, with the bytes that checked, and makes it durable where it is: whatever
// becomes of that write, each sector holds what it held, or what it should. Appends go on behind it.
func (l *segmentLog) keepInPlace(t *tornGroup, g *segment, f *os.File) error {
	w := t.whole
	if err := l.pwrite(f, w.bytes, g.size); err != nil {
		return l.refuse("write in place", g.named(err))
	}
	if !zerosFrom(f, w.state.size, g.allocated) {
		if err := l.cut(g, f, w.state.size); err != nil {
			return err
		}
	}
	if err := l.ops.fdatasync(f); err != nil {
		return l.fail("write in place", g.named(err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w.state.allocated = g.allocated
	g.segmentState = w.state
	for _, s := range w.sums {
		countAccepted(l.accepted, s.masks, s.tallies)
	}
	l.positions = addPositions(l.positions, t.positions)
	l.newest, l.seq = max(l.newest, g.lastTime), max(l.seq, g.end)
	l.active = g
	return nil
}
