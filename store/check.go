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

	Refused bool `json:"refused,omitempty"` // a start does not heal it, and refuses the directory
}

func (f Finding) String() string {
	text := f.What
	if f.Offset >= 0 {
		text = fmt.Sprintf("byte %d: %s", f.Offset, text)
	}
	if f.Refused {
		text += " (a start refuses the directory)"
	}
	return f.Path + ": " + text
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
	Lost     int64 `json:"lost"`    // items that were lost by that, and by missing segments, as long as that is kept
}

// Check reads everything in a data directory and changes nothing: queues.db, all its bodies too, and every block, footer
// and file of keys of the log. Nobody may have the store open: see Hold. progress, if not nil, is told how many bytes of
// how many were looked at. Findings are what a start heals, but for what is Refused. Errors: *FormatError, and those of the disk.
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
	queues      *queues  // nil: it is damaged
	uuid        [16]byte // of the store, by queues.db; zeros: it does not tell
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
	if c.queues != nil {
		defer func() { _ = c.queues.db.Close() }() // it was only read
	}
	log, err := readLog(filepath.Join(c.dir, logDir), c.uuid, true, diskOps())
	if err != nil {
		return err
	}
	err = firstError(func() error { return c.dropBlanks(log) }, func() error { return c.addMisnamed(log) }, func() error { return c.checkLog(log) })
	return errors.Join(err, log.close())
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
	c.findings = append(c.findings, Finding{Path: path, Offset: off, What: fmt.Sprintf(format, args...)})
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
	c.queues, c.uuid = q, q.uuid
	c.sums.Sinks, c.sums.Bodies, c.sums.Unclean = len(q.sinks), int64(q.meta.Bodies), !q.meta.Clean
	for _, m := range q.queues {
		for _, rows := range m.rows {
			c.sums.Rows += rows.Items
		}
	}
	return nil
}

// readQueues checks queues.db as a start does, and all bodies, without changing it. What it returns has it open.
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
		if err = q.db.View(q.load); err != nil {
			err = errors.Join(err, q.db.Close())
		}
		return err
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
	c.uuid = found.uuid.v
	for _, id := range found.bad {
		c.find(path, int64(id)*tree.pageSize, "page %d does not check", id)
	}
	if len(found.bad) == 0 {
		c.find(path, first.Offset, "%s", first.What)
	}
	return nil
}

func (c *checker) checkLog(r *logReading) error {
	var known damageRecord
	if c.queues != nil {
		known = c.queues.hurt
	}
	for i := range known.lost {
		c.sums.Lost += known.lost[i].count()
	}
	c.checkNames(r, known)
	if err := c.checkGaps(r, known); err != nil {
		return err
	}
	for i, g := range r.segs {
		c.sums.Segments++
		if known.has(g.serial) {
			c.sums.Healed++
			if err := c.checkHealed(g, r.limit(i), known.lost); err != nil {
				return err
			}
			continue
		}
		if err := c.checkSegment(r, g, r.limit(i)); err != nil {
			return err
		}
	}
	return c.checkKeys(r)
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

// checkHealed looks at a segment whose damage was dealt with before: only what was not told then is a finding.
func (c *checker) checkHealed(g *segment, limit uint64, lost []lostRange) error {
	size := g.allocated
	if g.sealed {
		size, limit = g.size, g.end
	}
	s := newSurvey(g, newBlockReader(g, g.file, size, readBytes), limit)
	if err := s.run(); err != nil {
		return err
	}
	end := s.end
	if g.sealed {
		end = g.end
	}
	due, n := g.due(), uint64(0)
	miss := func(end uint64) {
		for _, m := range missing(lost, due, end) {
			n += m.end - m.first
		}
	}
	for i := range s.found {
		b := &s.found[i]
		t, err := s.load(b)
		if err != nil {
			return err
		}
		if b.chain && b.Flags&blockGap != 0 {
			due = max(due, b.First)
		}
		items, _ := t.salvage()
		for j := range items {
			miss(items[j].Seq)
			due = items[j].Seq + 1
		}
		c.sums.Blocks++
		c.sums.Items += int64(len(items))
	}
	if miss(end); n > 0 {
		c.find(g.path, -1, "%d items do not check, beside those that were told as lost before", n)
	}
	c.step(g.allocated)
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
