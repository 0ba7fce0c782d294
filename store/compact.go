package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// compactBytes bounds a transaction of the copy, and so its memory.
const compactBytes = 1 << 20

// Slack returns how many bytes of the pages of queues.db were free after the newest commit, and how many there are. It
// asks nobody, and may be called at any time.
func (s *Store) Slack() (free, size int64) { return s.queues.free.Load(), s.queues.used.Load() }

// Compact writes queues.db anew without its free pages, and takes its place. Commits wait meanwhile, readers hardly: until
// the last moment they read the old file. What is stored does not change. When it returns nil the new file is durable.
//
// ErrFull, wrapped, or any other error that is no *FatalError: the old file is as it was. A *FatalError: it is not known
// which of two files of the same content the directory names. One goroutine calls Commit and Compact.
func (s *Store) Compact() error { return s.queues.compact() }

func (q *queues) compact() error {
	q.writing.Lock()
	defer q.writing.Unlock()
	if err := q.failure(); err != nil {
		return err
	}
	c := compaction{q: q, tmp: q.path + tmpSuffix}
	for _, step := range c.steps() {
		if err := guard(c.tmp, step); err != nil {
			return c.abandon(err)
		}
	}
	return nil
}

// A compaction is a copy of queues.db under way. The caller holds writing.
type compaction struct {
	q       *queues
	tmp     string
	db      *bolt.DB
	file    *os.File
	ahead   int64
	named   bool // the copy has the name of queues.db
	swapped bool // and is in use
}

// steps are Compact, each step whole. Until the rename a crash finds the old file, and a temporary one that the next
// start removes; from then on either.
func (c *compaction) steps() []func() error {
	return []func() error{c.create, c.copy, c.flush, c.rename, c.syncDir, c.swap}
}

func (c *compaction) create() error {
	if err := removeIfThere(c.tmp); err != nil {
		return err
	}
	options := boltOptions()
	options.PageSize = c.q.db.Info().PageSize
	options.NoSync = true
	options.OpenFile = func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
		c.file, err = os.OpenFile(name, flag, mode)
		return c.file, err
	}
	var err error
	c.db, err = bolt.Open(c.tmp, 0o600, options)
	return err
}

func (c *compaction) copy() error { return bolt.Compact(c.db, c.q.db, compactBytes) }

// flush makes the copy durable, with both meta pages showing the whole of it, and the disk that commits need ahead of
// what is used. The copy was not flushed so far.
func (c *compaction) flush() error {
	c.db.NoSync = false
	if err := c.db.Update(func(*bolt.Tx) error { return nil }); err != nil {
		return err
	}
	used, err := sizeOf(c.db)
	if err != nil {
		return err
	}
	if err := allocate(c.file, used, queuesAhead, true); err != nil {
		return err
	}
	c.ahead = used + queuesAhead
	c.q.written.Add(used)
	return c.db.Sync()
}

func (c *compaction) rename() error {
	if err := os.Rename(c.tmp, c.q.path); err != nil {
		return err
	}
	c.named = true
	return nil
}

func (c *compaction) syncDir() error { return SyncDir(filepath.Dir(c.q.path)) }

// swap waits for the readers that are in the old file: their transactions are short.
func (c *compaction) swap() error {
	q := c.q
	q.handle.Lock()
	old := q.db
	q.db, q.file, q.ahead = c.db, c.file, c.ahead
	q.handle.Unlock()
	c.swapped = true
	q.measure()
	return old.Close()
}

// abandon leaves the old file in its place, if it is there yet.
func (c *compaction) abandon(err error) error {
	switch {
	case c.swapped:
		return fmt.Errorf("compact: %w", err)
	case c.named:
		return c.q.fail("compact", errors.Join(err, c.close()))
	case fullWrite(err) || isFull(err):
		err = fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return fmt.Errorf("compact: %w", errors.Join(err, c.close(), removeIfThere(c.tmp)))
}

func (c *compaction) close() error {
	if c.db == nil {
		return nil
	}
	return guard(c.tmp, c.db.Close)
}

// sizeOf returns the bytes of the pages that a file has, free ones too.
func sizeOf(db *bolt.DB) (size int64, err error) {
	err = db.View(func(tx *bolt.Tx) error { size = tx.Size(); return nil })
	return size, err
}

// measure notes how much of the file is free, as far as it can be asked. The caller holds writing, or is the only one
// yet.
func (q *queues) measure() {
	q.taken.Store(q.size())
	used, err := sizeOf(q.db)
	if err != nil {
		return
	}
	stats := q.db.Stats()
	q.used.Store(used)
	q.free.Store(int64(stats.FreePageN+stats.PendingPageN) * int64(q.db.Info().PageSize))
}
