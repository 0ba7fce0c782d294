package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
)

// A spareFile is the next segment, made ahead of time, without a header yet.
type spareFile struct {
	file      *os.File
	allocated int64
}

// Prepare makes the spare when there is none and the active segment is at least half full, or there is no active one.
// ErrFull, wrapped, where the disk has no room for it; no error of it is fatal.
func (s *Store) Prepare() error { return s.log.prepare() }

func (l *segmentLog) prepare() error {
	l.spareMu.Lock()
	defer l.spareMu.Unlock()
	if l.spare != nil {
		return nil
	}
	size, due := l.spareDue()
	if !due {
		return nil
	}
	spare, err := l.makeSpare(size)
	if err != nil {
		return fmt.Errorf("prepare a segment: %w", err)
	}
	l.spare = spare
	l.spareBytes.Store(size)
	return nil
}

// spareDue decides whether a spare is due, and its size. The first segment of a store is small.
func (l *segmentLog) spareDue() (size int64, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segs) == 0 {
		return min(aheadBytes, l.opts.SegmentBytes), true
	}
	newest := l.segs[len(l.segs)-1]
	return l.opts.SegmentBytes, newest.size >= l.opts.SegmentBytes/2
}

func (l *segmentLog) makeSpare(size int64) (*spareFile, error) {
	f, err := os.OpenFile(filepath.Join(l.dir, spareName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, full(err)
	}
	spare := &spareFile{file: f, allocated: size}
	if err := l.ops.allocate(f, 0, size, false); err != nil {
		return nil, errors.Join(full(err), l.dropSpare(spare))
	}
	return spare, nil
}

func (l *segmentLog) dropSpare(spare *spareFile) error {
	return errors.Join(spare.file.Close(), l.ops.remove(spare.file.Name()))
}

// takeSpare returns the spare, or one of that size made now. The caller holds spareMu until the
// file has another name: otherwise the next Prepare would make it anew under our hands.
func (l *segmentLog) takeSpare(size int64) (*spareFile, error) {
	if spare := l.spare; spare != nil {
		l.spare = nil
		l.spareBytes.Store(0)
		return spare, nil
	}
	return l.makeSpare(size)
}

// rotate starts a new segment that begins at the end of the one before: what was never given is a gap in it.
// The snapshot is taken after the wish to rotate was cleared: a change in between asks for another rotation.
func (l *segmentLog) rotate(next uint64, snap func() snapshot) error {
	l.spareMu.Lock()
	defer l.spareMu.Unlock()
	l.rotateSoon.Store(false)
	spare, err := l.takeSpare(min(aheadBytes, l.opts.SegmentBytes)) // the rest as it is needed
	if err != nil {
		l.rotateSoon.Store(true)
		return l.refuse("append: new segment", err)
	}
	g, b := l.newHeader(l.firstOfNew(next), snap(), nil)
	if err := l.install(spare, g, b); err != nil {
		l.rotateSoon.Store(true)
		return err
	}
	return nil
}

// firstOfNew is where the segments so far end.
func (l *segmentLog) firstOfNew(next uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.segs); n > 0 {
		return l.segs[n-1].end
	}
	return next
}

// newHeader makes the next segment and the bytes of its header. kept is what is to be durable with that.
func (l *segmentLog) newHeader(first uint64, snap snapshot, kept []Item) (*segment, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &segmentHeader{
		UUID: l.uuid, Serial: 1, First: first, Highest: l.seq - 1, IDTime: l.newest,
		QueueNumber: max(snap.QueueNumber, l.queueNo), Sinks: snap.Sinks,
		Queues: make(map[uint32]headerQueue), Positions: l.positions,
	}
	if len(kept) > 0 {
		h.KeptFirst, h.KeptEnd = kept[0].Seq, kept[len(kept)-1].Seq+1
	}
	if n := len(l.segs); n > 0 {
		h.Serial = l.segs[n-1].serial + 1
	}
	for l.hurt.has(h.Serial) {
		h.Serial++ // of a segment that is missing
	}
	for n, q := range snap.Queues {
		h.Queues[n] = headerQueue{Cursor: q.Cursor, LowestOwed: q.LowestOwed}
	}
	l.forgetQueues(snap.Sinks)
	for n, t := range l.accepted {
		q := h.Queues[n]
		q.Accepted = t
		h.Queues[n] = q
	}
	b := encodeHeader(h)
	h.Sinks, h.Queues, h.Positions = nil, nil, nil
	return l.newSegment(h, int64(len(b))), b
}

// forgetQueues drops what was accepted for queues that no sink has any more. mu is held.
func (l *segmentLog) forgetQueues(sinks []Sink) {
	have := make(map[uint32]bool)
	for _, s := range sinks {
		for _, q := range s.Queues {
			have[q.Number] = true
		}
	}
	maps.DeleteFunc(l.accepted, func(n uint32, _ Tally) bool { return !have[n] })
}

// install makes the spare the active segment: b, which is its header and perhaps blocks, is durable before it has its
// name, and its name before anything is appended. Until the rename nothing has happened.
func (l *segmentLog) install(spare *spareFile, g *segment, b []byte) error {
	err := l.pwrite(spare.file, b, 0)
	if err == nil {
		err = l.ops.fdatasync(spare.file)
	}
	if err != nil {
		return l.refuse("append: new segment", errors.Join(err, l.dropSpare(spare)))
	}
	// If we were to crash after this, the segment would be there, with all that b has.
	if err := l.ops.rename(l.dir, spareName, filepath.Base(g.path)); isFull(err) {
		return l.refuse("append: new segment", errors.Join(err, l.dropSpare(spare)))
	} else if err != nil {
		return l.fail("append: new segment", errors.Join(err, spare.file.Close()))
	}
	if err := l.ops.syncDir(l.names); err != nil {
		return l.fail("append: new segment", errors.Join(err, spare.file.Close()))
	}
	g.file, g.allocated = spare.file, max(spare.allocated, int64(len(b)))
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.segs); n > 0 {
		last := l.segs[n-1]
		last.index.close(last.size)
	}
	l.segs = append(l.segs[:len(l.segs):len(l.segs)], g)
	l.queueNo = g.header.QueueNumber
	l.active = g
	return nil
}
