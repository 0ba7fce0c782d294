package store

import "fmt"

// Rotate ends the active segment now, so that it can be sealed and released: the next one is there, empty, when it returns
// nil. It takes the disk 4 MiB ahead of use, and there is no spare until it is half full: so a drained store shrinks to a
// few MiB. Where the active segment has no items it stays.
//
// ErrFull, wrapped: nothing happened. A *FatalError: see Append. The goroutine that appends calls it. It panics when
// RewriteTail is due.
func (s *Store) Rotate() error { return s.log.rotateNow(s.queues.snapshot) }

func (l *segmentLog) rotateNow(snap func() snapshot) error {
	if err := l.failure(); err != nil {
		return err
	}
	if l.rewrite {
		panic("store: rotate before RewriteTail")
	}
	if err := l.shrinkSpare(); err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	if g := l.active; g == nil || g.items == 0 { // only this goroutine changes it
		return nil
	}
	// The spare, if there is one, becomes the segment: that needs no room.
	return l.rotate(l.next(), snap)
}

// shrinkSpare cuts the spare to what a segment begins with.
func (l *segmentLog) shrinkSpare() error {
	l.spareMu.Lock()
	defer l.spareMu.Unlock()
	spare := l.spare
	if spare == nil || spare.allocated <= aheadBytes {
		return nil
	}
	if err := l.ops.truncate(spare.file, aheadBytes); err != nil {
		return err
	}
	spare.allocated = aheadBytes
	l.spareBytes.Store(aheadBytes)
	return nil
}
