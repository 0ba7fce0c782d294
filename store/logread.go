package store

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A logReading is the log as far as it can be read, damaged or not, without changing anything.
type logReading struct {
	log      *segmentLog
	segs     []*segment // by serial; their files are open for reading
	headless []headlessFile
	findings []Finding
	strays   []string     // segments whose header is that of another one, or of another store
	foreign  *DamageError // the first of them that is what its header says; nil: none is
	guessed  bool         // only segments tell whose store this is
	mixed    bool         // some are of another store
}

// A headlessFile is a segment of which the header does not check.
type headlessFile struct {
	path  string
	cause error
}

// readLog opens the segments of a directory, of which the headers check or at least the blocks. A *FormatError comes as it
// is; what is damaged is among the findings. What the disk does not give is an error, or with giveUp it is damage.
func readLog(dir string, uuid [16]byte, giveUp bool, disk ops) (*logReading, error) {
	r := &logReading{log: &segmentLog{dir: dir, uuid: uuid, opts: Options{GiveUp: giveUp}, ops: disk}}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		if err := r.add(filepath.Join(dir, e.Name())); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	r.sort()
	r.dropStrangers()
	if err := cmpError(r.addStrays(), r.addHeadless()); err != nil {
		return nil, errors.Join(err, r.close())
	}
	for i, g := range r.segs {
		if err := r.measure(g, r.limit(i)); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, nil
}

func (r *logReading) add(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	h, length, err := readHeader(f, path)
	if r.givesUp(err) {
		err = &DamageError{Path: path, Offset: 0, What: "the header cannot be read"}
	}
	_, format := errors.AsType[*FormatError](err)
	if format || isDamage(err) {
		r.headless = append(r.headless, headlessFile{path, err})
		return f.Close()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	g := r.log.newSegment(h, length)
	g.path, g.file = path, f
	r.segs = append(r.segs, g)
	return nil
}

// addStrays adds the segments whose header is that of another one, and leaves out those that are another one.
func (r *logReading) addStrays() error {
	for _, path := range r.strays {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h, _, err := readHeader(f, path)
		damage := &DamageError{Path: path}
		if err == nil {
			damage = r.log.misplaced(h, path)
		}
		g, err := r.log.byName(f, path)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		r.findings = append(r.findings, Finding{Path: damage.Path, Offset: damage.Offset, What: damage.What})
		if g == nil {
			r.foreign, r.mixed = cmp.Or(r.foreign, damage), r.mixed || damage.What == whatStranger
			_ = f.Close()
			continue
		}
		g.file = f
		r.segs = append(r.segs, g)
	}
	r.sort()
	return nil
}

// givesUp reports whether an error is of what the disk does not give, and counts as damage.
func (r *logReading) givesUp(err error) bool { return r.log.opts.GiveUp && errors.Is(err, syscall.EIO) }

func (r *logReading) sort() {
	slices.SortFunc(r.segs, func(a, b *segment) int { return cmp.Compare(a.serial, b.serial) })
}

// addHeadless adds the segments whose blocks check without their header. Whose they are is known by then, if at all.
func (r *logReading) addHeadless() error {
	for _, file := range r.headless {
		f, err := os.Open(file.path)
		if err != nil {
			return err
		}
		g, err := r.log.headless(f, file.path, file.cause)
		if d, damaged := errors.AsType[*DamageError](file.cause); damaged {
			r.findings = append(r.findings, Finding{Path: d.Path, Offset: d.Offset, What: d.What})
		} else if err == nil {
			r.findings = append(r.findings, Finding{Path: file.path, Offset: 8, What: "the header does not check"})
		}
		if err != nil {
			if err = errors.Join(err, f.Close()); !isDamage(err) {
				return err
			}
			continue
		}
		g.file = f
		r.segs = append(r.segs, g)
	}
	r.sort()
	return nil
}

// dropStrangers leaves the segments of one store that have their own names: the store that was asked for, else that of the newest segment.
func (r *logReading) dropStrangers() {
	if r.log.uuid == ([16]byte{}) && len(r.segs) > 0 {
		r.log.uuid, r.guessed = r.segs[len(r.segs)-1].header.UUID, true
	}
	r.segs = slices.DeleteFunc(r.segs, func(g *segment) bool {
		stray := r.log.misplaced(g.header, g.path) != nil
		if stray {
			r.strays = append(r.strays, g.path)
			_ = g.close()
		}
		return stray
	})
}

// limit returns where a segment ends because the next one begins there, 0 for the last.
func (r *logReading) limit(i int) uint64 {
	if i+1 < len(r.segs) {
		return r.segs[i+1].first
	}
	return 0
}

// measure finds where a segment ends: its footer tells, or its blocks; the next one, or of the newest what is left of them.
func (r *logReading) measure(g *segment, limit uint64) error {
	fi, err := g.file.Stat()
	if err != nil {
		return err
	}
	g.allocated = fi.Size()
	st, err := readFooter(g, g.file, fi.Size())
	if err == nil {
		st.allocated = fi.Size()
		g.segmentState = st
		return nil
	}
	if errors.Is(err, syscall.EIO) && !r.givesUp(err) {
		return err
	}
	off, err := scanBlocks(g, limit, nil)
	if err != nil && !isStop(err) {
		return err
	}
	if limit > 0 {
		g.end = max(g.end, limit) // what of it is damaged belongs to it too
		return nil
	}
	if zerosFrom(g.file, off, g.allocated) {
		return nil
	}
	s, err := r.survey(g, limit)
	if err != nil {
		return err
	}
	g.end = max(g.end, s.end)
	return nil
}

// survey finds the blocks of a segment.
func (r *logReading) survey(g *segment, limit uint64) (*survey, error) {
	size := g.allocated
	if g.sealed {
		size = g.size
	}
	s := newSurvey(g, newBlockReader(g, g.file, size, readBytes), limit)
	return s, s.run()
}

func (r *logReading) close() error {
	var errs []error
	for _, g := range r.segs {
		errs = append(errs, g.close())
	}
	return errors.Join(errs...)
}

// header returns the newest one; nil if there is none.
func (r *logReading) header() *segmentHeader {
	for _, g := range slices.Backward(r.segs) {
		if !g.headless {
			return g.header
		}
	}
	return nil
}

// from returns the lowest seq at or above one that a segment covers, and that one itself if there is none.
func (r *logReading) from(seq uint64) uint64 {
	for _, g := range r.segs {
		if g.end > seq {
			return max(seq, g.first)
		}
	}
	return seq
}

// has reports whether a segment covers a seq.
func (r *logReading) has(seq uint64) bool {
	return slices.ContainsFunc(r.segs, func(g *segment) bool { return g.first <= seq && seq < g.end })
}

// items visits the items from a seq on that check, of blocks that some queue wants. What they have is good until the next.
func (r *logReading) items(from uint64, wants func(*blockReader) bool, visit func(*Item)) error {
	for i, g := range r.segs {
		if g.end <= from {
			continue
		}
		if err := r.itemsOf(g, max(from, g.first), r.limit(i), wants, visit); err != nil {
			return err
		}
	}
	return nil
}

func (r *logReading) itemsOf(g *segment, from, limit uint64, wants func(*blockReader) bool, visit func(*Item)) error {
	return r.blocksOf(g, from, limit, func(b *blockReader, t *tornBlock) {
		if !wants(b) {
			return
		}
		items, _ := t.salvage()
		for i := range items {
			if it := &items[i].Item; it.Seq >= from {
				visit(it)
			}
		}
	})
}

// blocksOf visits the blocks of a segment from a seq on whose tables check: the reader has those.
func (r *logReading) blocksOf(g *segment, from, limit uint64, visit func(*blockReader, *tornBlock)) error {
	s, err := r.survey(g, limit)
	if err != nil {
		return err
	}
	for i := range s.found {
		b := &s.found[i]
		if b.end() <= from {
			continue
		}
		t, err := s.load(b)
		if err != nil {
			return err
		}
		if s.decoder.tables(&t.header, t.tables) == nil {
			visit(&s.blockReader, &t)
		}
	}
	return nil
}

// named returns the queues that items went to, and the highest number that any mask has. The masks of a segment with a header
// have no number that is above the header's.
func (r *logReading) named() (to map[uint32]bool, highest uint32, err error) {
	to = map[uint32]bool{}
	for i, g := range r.segs {
		for _, t := range g.queues {
			to[t.number] = true
		}
		if !g.headless {
			continue
		}
		err := r.blocksOf(g, g.first, r.limit(i), func(b *blockReader, _ *tornBlock) {
			for _, m := range b.masks {
				for _, number := range m.To {
					to[number] = true
				}
				for _, number := range m.Dropped {
					highest = max(highest, number)
				}
			}
		})
		if err != nil {
			return nil, 0, err
		}
	}
	for number := range to {
		highest = max(highest, number)
	}
	return to, highest, nil
}
