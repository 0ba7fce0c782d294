package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// A Finding is something in a data directory that is not as it was written.
type Finding struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"` // -1: not at one place
	What   string `json:"what"`
}

func (f Finding) String() string {
	if f.Offset < 0 {
		return f.Path + ": " + f.What
	}
	return fmt.Sprintf("%s: byte %d: %s", f.Path, f.Offset, f.What)
}

// Checked says by number what was looked at, and what is known of damage that was dealt with before.
type Checked struct {
	Segments int   `json:"segments"`
	Blocks   int64 `json:"blocks"`
	Items    int64 `json:"items"` // that check
	Bytes    int64 `json:"bytes"` // of segments and queues.db
	Sinks    int   `json:"sinks"`
	Rows     int64 `json:"rows"`    // whose item is in the log
	Bodies   int64 `json:"bodies"`  // items outside the log
	Unclean  bool  `json:"unclean"` // the last process did not close the store: a start looks at the end of the log
	Healed   int   `json:"healed"`  // damaged segments that were dealt with before: not told again
}

// Check reads everything in a data directory and changes nothing: queues.db, all its bodies too, and every block, footer
// and file of keys of the log. Nobody may have the store open: see Hold. progress, if not nil, is told how many bytes of
// how many were looked at. Findings are what a start heals. Errors: *FormatError, and those of the disk.
func Check(dir string, progress func(done, total int64)) ([]Finding, Checked, error) {
	c := checker{dir: dir, progress: progress}
	if err := c.run(); err != nil {
		return c.findings, c.sums, fmt.Errorf("check: %w", err)
	}
	return c.findings, c.sums, nil
}

// Hold takes the lock of a directory without changing anything, so that nobody opens the store until it is given back.
// A *LockedError names who has it. Where there is no lock file, nobody can have it.
func Hold(dir string) (release func() error, err error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	held, err := lockFile(f)
	if held {
		err = &LockedError{Path: dir, PID: readPID(f)}
	}
	if err != nil {
		return nil, fmt.Errorf("hold: %w", errors.Join(err, f.Close()))
	}
	return f.Close, nil
}

// A checker is a Check under way.
type checker struct {
	dir         string
	progress    func(done, total int64)
	done, total int64
	findings    []Finding
	sums        Checked
	queues      *queues // nil: it is damaged
}

func (c *checker) run() error {
	found, err := Exists(c.dir)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%s holds no store: %w", c.dir, fs.ErrNotExist)
	}
	c.total = c.size()
	if err := c.checkQueues(); err != nil {
		return err
	}
	var uuid [16]byte
	if c.queues != nil {
		uuid = c.queues.uuid
	}
	log, err := readLog(filepath.Join(c.dir, logDir), uuid, true, diskOps())
	if err != nil {
		return err
	}
	return errors.Join(c.checkLog(log), log.close())
}

// size is how many bytes there are to look at.
func (c *checker) size() (n int64) {
	paths, _ := filepath.Glob(filepath.Join(c.dir, logDir, "*.log"))
	for _, path := range append(paths, filepath.Join(c.dir, queuesName)) {
		if fi, err := os.Stat(path); err == nil {
			n += fi.Size()
		}
	}
	return n
}

func (c *checker) step(n int64) {
	c.done += n
	c.sums.Bytes += n
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
}

func (c *checker) find(path string, off int64, format string, args ...any) {
	c.findings = append(c.findings, Finding{path, off, fmt.Sprintf(format, args...)})
}

// checkQueues looks at queues.db. Where its tree is broken, each page that does not check is told.
func (c *checker) checkQueues() error {
	path := filepath.Join(c.dir, queuesName)
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		c.find(path, -1, "it is missing, but the log has segments")
		return nil
	}
	if err != nil {
		return err
	}
	defer c.step(fi.Size())
	if metas, err := CheckMetas(path); err == nil && !metas.OK() {
		c.find(path, 0, "its meta pages are not two commits that follow each other")
	}
	q, err := readQueues(path)
	d, damaged := errors.AsType[*DamageError](err)
	switch {
	case damaged:
		return c.carveQueues(path, d)
	case err != nil:
		return err
	}
	c.queues = q
	c.sums.Sinks, c.sums.Bodies, c.sums.Unclean = len(q.sinks), int64(q.meta.Bodies), !q.meta.Clean
	for _, m := range q.queues {
		for _, rows := range m.rows {
			c.sums.Rows += rows.Items
		}
	}
	return nil
}

// readQueues checks queues.db as a start does, and all bodies, without changing it. What it returns has no open file.
func readQueues(path string) (*queues, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	options := boltOptions()
	options.ReadOnly = true
	q := &queues{path: path, queues: map[uint32]*queueMemory{}, thorough: true}
	return q, guard(path, func() (err error) {
		if q.db, err = bolt.Open(path, 0, options); err != nil {
			return err
		}
		return errors.Join(q.db.View(q.load), q.db.Close())
	})
}

// carveQueues tells the pages of a damaged queues.db that do not check, or what was found first if it is none of them.
func (c *checker) carveQueues(path string, first *DamageError) error {
	found, tree, err := carve(path, nil)
	if err == nil {
		err = found.checkFormats(path)
	}
	if err != nil {
		return err
	}
	for _, id := range found.bad {
		c.find(path, int64(id)*tree.pageSize, "page %d does not check", id)
	}
	if len(found.bad) == 0 {
		c.find(path, first.Offset, "%s", first.What)
	}
	return nil
}

func (c *checker) checkLog(r *logReading) error {
	c.findings = append(c.findings, r.findings...)
	var known damageRecord
	if c.queues != nil {
		known = c.queues.hurt
		c.checkGaps(r, known)
	}
	for i, g := range r.segs {
		c.sums.Segments++
		if known.has(g.serial) {
			c.sums.Healed++
			c.step(g.allocated)
			continue
		}
		if err := c.checkSegment(r, g, r.limit(i)); err != nil {
			return err
		}
	}
	return c.checkKeys(r)
}

// checkGaps tells what is missing between segments, and before the first, that some queue has not settled.
func (c *checker) checkGaps(r *logReading, known damageRecord) {
	state, end := c.queues.logState(), uint64(1)
	for _, g := range r.segs {
		from := max(end, state.OldestNeeded)
		if from < g.first && !covers(state.Holes, from, g.first) {
			for _, m := range missing(known.lost, from, g.first) {
				c.find(g.path, -1, "seqs %d to %d are missing before it", m.first, m.end-1)
			}
		}
		end = max(end, g.end)
	}
	if len(r.segs) == 0 && state.OldestNeeded < state.Synced {
		c.find(r.log.dir, -1, "seqs %d to %d are missing", state.OldestNeeded, state.Synced-1)
	}
}

// checkSegment looks at every block and every item. What stands at the end of the newest segment after an unclean stop
// is for a start to judge.
func (c *checker) checkSegment(r *logReading, g *segment, limit uint64) error {
	size := g.allocated
	if g.sealed {
		size = g.size
	} else if b := make([]byte, 4); limit > 0 && g.allocated >= 4 {
		if _, err := g.file.ReadAt(b, g.allocated-4); err == nil && binary.BigEndian.Uint32(b) == trailerMagic {
			c.find(g.path, g.allocated-trailerLen, "the footer does not check")
		}
	}
	s := newSurvey(g, newBlockReader(g, g.file, size, readBytes), limit)
	if err := s.run(); err != nil {
		return err
	}
	off, began := g.start, c.done
	for i := range s.found {
		b := &s.found[i]
		if b.off > off {
			c.find(g.path, off, "no block that checks, for %d bytes", b.off-off)
		}
		if err := c.checkFound(g, s, b); err != nil {
			return err
		}
		c.step(b.off + int64(b.size()) - off)
		off = b.off + int64(b.size())
	}
	c.checkRest(g, s, off, size, limit)
	c.step(began + g.allocated - c.done)
	return nil
}

// checkFound looks at a block that was found.
func (c *checker) checkFound(g *segment, s *survey, b *foundBlock) error {
	t, err := s.load(b)
	if err != nil {
		return err
	}
	if b.tables != b.off+blockFixed {
		c.find(g.path, b.off, "the block's header does not check; its copy does")
	}
	items, _ := t.salvage()
	if n := int(b.Count) - len(items); n > 0 {
		c.find(g.path, b.off, "%d of %d items of the block do not check", n, b.Count)
	}
	c.sums.Blocks++
	c.sums.Items += int64(len(items))
	return nil
}

// checkRest looks behind the last block.
func (c *checker) checkRest(g *segment, s *survey, off, size int64, limit uint64) {
	switch {
	case g.sealed && off < size:
		c.find(g.path, off, "no block that checks, for %d bytes", size-off)
	case limit > 0 && !g.sealed && s.end < limit && lastNonzero(g.file, off, size) > off:
		c.find(g.path, off, "no block that checks, and the next segment begins at seq %d", limit)
	case limit == 0 && !g.sealed && !c.sums.Unclean && c.queues != nil && lastNonzero(g.file, off, size) > off:
		c.find(g.path, off, "no block that checks")
	}
}

// checkKeys looks at the files of idempotency keys.
func (c *checker) checkKeys(r *logReading) error {
	paths, err := filepath.Glob(filepath.Join(r.log.dir, "*.keys"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		_, err := r.log.readKeys(path, nil)
		d, damaged := errors.AsType[*DamageError](err)
		if damaged {
			c.find(path, d.Offset, "%s", d.What)
		} else if err != nil {
			return err
		}
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Offset, b.Offset)) })
	return nil
}

// Salvage reads every segment now, and deals with what is damaged of them as readers would when they come to it.
// progress, if not nil, is told how many bytes of how many were read. Where damage is refused the first is returned.
func (s *Store) Salvage(progress func(done, total int64)) error {
	var done, total int64
	views := s.log.views()
	for _, v := range views {
		total += v.size
	}
	for _, v := range views {
		if known := s.log.record(); !known.has(v.seg.serial) {
			if err := s.log.readAll(v); err != nil && !v.seg.gone.Load() {
				return fmt.Errorf("salvage: %w", err)
			}
		}
		if done += v.size; progress != nil {
			progress(done, total)
		}
	}
	return nil
}

// readAll reads the blocks of a segment up to the first that is damaged, which it has mended.
func (l *segmentLog) readAll(v view) error {
	f, err := v.seg.open()
	if err != nil {
		return err
	}
	r := newBlockReader(v.seg, f, v.size, readBytes)
	for off := v.seg.start; off < v.size; {
		h, err := r.block(off)
		if err == nil {
			_, _, err = r.itemsOf(&h, off)
		}
		if err = readError(v.seg, off, err); isDamage(err) {
			return l.mend(&v)
		}
		if err != nil {
			return err
		}
		off += int64(h.size())
	}
	return nil
}
