package store

import (
	"cmp"
	"errors"
	"fmt"
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
	names, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l := &segmentLog{dir: dir, names: names, uuid: uuid, opts: o, ops: *cmp.Or(o.ops, new(diskOps())), enc: encoder{blockBytes: o.BlockBytes, packer: packer}, accepted: make(map[uint32]Tally)}
	if err := l.load(known); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), l.close())
	}
	return l, nil
}

func (l *segmentLog) load(known logState) error {
	if !known.Clean {
		if err := l.ops.syncDir(l.names); err != nil {
			return err
		}
	}
	if err := l.openSegments(&known); err != nil {
		return err
	}
	l.newest, l.seq = known.IDTime, max(known.Highest+1, 1)
	l.hurt = known.Damage
	l.lossy.Store(len(l.hurt.lost) > 0)
	if err := l.scanAll(known); err != nil {
		return err
	}
	if err := l.checkGaps(known); err != nil {
		return err
	}
	for _, g := range l.segs {
		g.soft.Store(false)
		g.header.Sinks, g.header.Queues, g.header.Positions = nil, nil, nil
	}
	if err := l.findKeys(); err != nil {
		return err
	}
	return l.sweep()
}

// openSegments reads every segment's header, and its footer if it has one.
func (l *segmentLog) openSegments(known *logState) error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	var blank []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		g, err := l.openSegment(filepath.Join(l.dir, e.Name()))
		if errors.Is(err, errNoSegment) && l.heals() {
			blank = append(blank, filepath.Join(l.dir, e.Name()))
			continue
		}
		if err != nil {
			return err
		}
		l.segs = append(l.segs, g)
	}
	slices.SortFunc(l.segs, func(a, b *segment) int { return cmp.Compare(a.serial, b.serial) })
	if !l.heals() {
		return nil
	}
	strays, err := l.blanks(l.segs, known)
	if err != nil {
		return err
	}
	for _, g := range strays {
		blank = append(blank, g.path)
	}
	if len(blank) > 0 {
		return l.aside(blank)
	}
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

// errNoSegment: neither the header of a file nor its name says which segment it is.
var errNoSegment = errors.New("it is no segment")

func (l *segmentLog) identify(f *os.File, path string) (*segment, error) {
	h, length, err := readHeader(f, path)
	if err != nil && l.heals() {
		g, herr := l.headless(f, path, err)
		if isDamage(herr) { // else it is another format, or the disk
			herr = errors.Join(errNoSegment, herr)
		}
		return g, herr
	}
	if err != nil {
		return nil, err
	}
	damage := l.misplaced(h, path)
	if damage == nil {
		return l.newSegment(h, length), nil
	}
	if l.heals() {
		if g, err := l.byName(f, path); g != nil || err != nil {
			return g, err
		}
	}
	return nil, &MisplacedError{Damage: damage, UUID: l.uuid}
}

func (l *segmentLog) loadFooter(g *segment, f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	st, err := readFooter(g, f, fi.Size())
	switch {
	case errors.Is(err, errFooter), l.givesUp(err):
		g.allocated = fi.Size()
		return nil
	case err != nil:
		return err
	}
	st.allocated = fi.Size()
	g.segmentState = st
	if g.headless && len(st.index.entries) > 0 {
		g.start = int64(st.index.entries[0].Off)
	}
	return nil
}

// adopt takes over what the newest header says; if that is destroyed, what can be known without it.
func (l *segmentLog) adopt(g *segment) {
	clear(l.accepted)
	if g.headless {
		accepted, positions, ok := l.acceptedUpTo(len(l.segs) - 1)
		l.accepted, l.positions, l.baseless = accepted, positions, l.baseless || !ok
		return
	}
	for n, q := range g.header.Queues {
		l.accepted[n] = q.Accepted
	}
	l.positions = g.header.Positions
	l.queueNo = g.header.QueueNumber
}

// checkGaps misses the segments that a queue still has to read.
func (l *segmentLog) checkGaps(known logState) error {
	end := uint64(1)
	for i, g := range l.segs {
		if g.first < end {
			return g.damage(-1, fmt.Errorf("it begins at seq %d, and the segment before ends at %d", g.first, end))
		}
		if from := max(end, known.OldestNeeded); g.first > from && !covers(known.Holes, from, g.first) {
			if !l.heals() {
				return g.damage(-1, fmt.Errorf("seqs %d to %d are missing before it", from, g.first-1))
			}
			l.noteLost(l.lostBefore(i, from, known.Queues))
		}
		end = g.end
	}
	if len(l.segs) > 0 {
		return nil
	}
	l.baseless = known.Synced > 1 // what was accepted, no header tells
	if known.OldestNeeded < known.Synced {
		if !l.heals() {
			return &DamageError{Path: l.dir, Offset: -1, What: fmt.Sprintf("seqs %d to %d are missing", known.OldestNeeded, known.Synced-1)}
		}
		l.lose(known.OldestNeeded, known.Synced, nil, known)
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
