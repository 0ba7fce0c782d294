package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// openLog reads what a start needs of a directory of segments: headers and footers; only segments without a footer are
// read whole. *FormatError and *DamageError come before anything was changed.
func openLog(dir string, uuid [16]byte, o Options, known logState) (*segmentLog, error) {
	packer, err := newCompressor(o.Compress)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l := &segmentLog{dir: dir, uuid: uuid, opts: o, ops: diskOps(), enc: encoder{blockBytes: o.BlockBytes, packer: packer}, accepted: make(map[uint32]Tally)}
	if err := l.load(known); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), l.close())
	}
	return l, nil
}

func (l *segmentLog) load(known logState) error {
	if !known.Clean {
		if err := l.ops.syncDir(l.dir); err != nil {
			return err
		}
	}
	if err := l.openSegments(); err != nil {
		return err
	}
	l.newest, l.seq = known.IDTime, max(known.Highest+1, 1)
	if err := l.scanAll(known); err != nil {
		return err
	}
	if err := l.checkGaps(known); err != nil {
		return err
	}
	if err := l.findKeys(); err != nil {
		return err
	}
	return l.sweep()
}

// openSegments reads every segment's header, and its footer if it has one.
func (l *segmentLog) openSegments() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		g, err := l.openSegment(filepath.Join(l.dir, e.Name()))
		if err != nil {
			return err
		}
		l.segs = append(l.segs, g)
	}
	slices.SortFunc(l.segs, func(a, b *segment) int { return cmp.Compare(a.serial, b.serial) })
	return nil
}

func (l *segmentLog) openSegment(path string) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	g, err := l.identify(f, path)
	if err == nil {
		err = l.loadFooter(g, f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if g.sealed {
		return g, f.Close()
	}
	g.file = f
	return g, nil
}

func (l *segmentLog) identify(f *os.File, path string) (*segment, error) {
	h, length, err := readHeader(f, path)
	if err != nil {
		return nil, err
	}
	if h.UUID != l.uuid {
		return nil, &DamageError{Path: path, Offset: 16, What: "the segment belongs to another store"}
	}
	g := newSegment(l.dir, h, length)
	if g.path != path {
		return nil, &DamageError{Path: path, Offset: 32, What: "the header says that this is " + filepath.Base(g.path)}
	}
	return g, nil
}

func (l *segmentLog) loadFooter(g *segment, f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	st, err := readFooter(g, f, fi.Size())
	switch {
	case errors.Is(err, errFooter):
		g.allocated = fi.Size()
		return nil
	case err != nil:
		return err
	}
	st.allocated = fi.Size()
	g.segmentState = st
	return nil
}

// scanAll reads the segments that have no footer, and finds out where the log ends.
func (l *segmentLog) scanAll(known logState) error {
	for i, g := range l.segs {
		l.seq = max(l.seq, g.first, g.header.Highest+1)
		l.newest = max(l.newest, g.header.IDTime)
		if i < len(l.segs)-1 {
			if err := l.scanFull(g, l.segs[i+1].first); err != nil {
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
		g.header.Sinks, g.header.Queues, g.header.Positions = nil, nil, nil
	}
	return nil
}

// scanFull scans a segment that another follows: it ends where that one begins, whatever stands behind.
func (l *segmentLog) scanFull(g *segment, limit uint64) error {
	if g.sealed {
		return nil
	}
	off, err := scanBlocks(g, limit, nil)
	if err != nil && !isStop(err) {
		return err
	}
	if g.end < limit && !zerosFrom(g.file, off, g.allocated) {
		return readError(g, off, err)
	}
	g.index.close(g.size)
	return nil
}

// scanNewest scans the segment that was written last. Its header says what was accepted before it.
func (l *segmentLog) scanNewest(g *segment, known logState) error {
	for n, q := range g.header.Queues {
		l.accepted[n] = q.Accepted
	}
	l.positions = g.header.Positions
	l.queueNo = g.header.QueueNumber
	if g.sealed {
		return nil
	}
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
	if end := max(g.end, l.torn.end); end < known.Synced && known.OldestNeeded < known.Synced {
		return g.damage(off, fmt.Errorf("the log ends before seq %d, and was durable to %d", end, known.Synced-1))
	}
	return nil
}

// isStop reports whether an error means that no block follows, and not that the disk did not answer.
func isStop(err error) bool {
	_, damaged := errors.AsType[*DamageError](readError(new(segment), 0, err))
	return damaged
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

// checkGaps refuses a log of which a segment is missing that a queue still has to read.
func (l *segmentLog) checkGaps(known logState) error {
	end := uint64(1)
	for _, g := range l.segs {
		if g.first < end {
			return g.damage(-1, fmt.Errorf("it begins at seq %d, and the segment before ends at %d", g.first, end))
		}
		if from := max(end, known.OldestNeeded); g.first > from && !covers(known.Holes, from, g.first) {
			return g.damage(-1, fmt.Errorf("seqs %d to %d are missing before it", from, g.first-1))
		}
		end = g.end
	}
	if len(l.segs) == 0 && known.OldestNeeded < known.Synced {
		return &DamageError{Path: l.dir, Offset: -1, What: fmt.Sprintf("seqs %d to %d are missing", known.OldestNeeded, known.Synced-1)}
	}
	return nil
}

// sweep removes what a crash left half done.
func (l *segmentLog) sweep() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !e.Type().IsRegular() {
			continue
		}
		if name != spareName && !strings.HasSuffix(name, ".gone.tmp") && !strings.HasSuffix(name, ".keys.tmp") {
			continue
		}
		if err := l.removeInSteps(filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	return nil
}
