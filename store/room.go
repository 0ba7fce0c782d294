package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// queuesAhead is how much disk queues.db has beyond what it uses, so that marks can be committed on a full disk:
// measured, 500 of 500 commits with it, 1 of 500 without.
const queuesAhead = 4 << 20

// makeRoom sees to it that a commit which may need so many bytes will find them. ErrFull: it might not. The caller
// holds writing, or is the only one yet.
func (q *queues) makeRoom(need int64) error {
	var used int64
	if err := q.view(func(tx *bolt.Tx) error { used = tx.Size(); return nil }); err != nil {
		return err
	}
	if q.ahead-used >= need+queuesAhead/2 {
		return nil
	}
	want := need + queuesAhead
	err := allocate(q.file, used, want, true)
	if err == nil {
		q.ahead = used + want
		return nil
	}
	if !isFull(err) {
		return err
	}
	stats := q.db.Stats()
	if free := int64(stats.FreePageN) * int64(q.db.Info().PageSize); q.ahead-used+free >= need {
		return nil
	}
	// What an earlier process had ahead is there still, and not known to be.
	for more := int64(queuesAhead / 2); more >= 64<<10; more /= 2 {
		if allocate(q.file, used, need+more, true) == nil {
			q.ahead = used + need + more
			return nil
		}
	}
	return full(err)
}

// lend lets fn use the disk that queues.db has ahead of its use, and takes as much again afterwards as there is.
func (q *queues) lend(fn func() error) error {
	q.writing.Lock()
	defer q.writing.Unlock()
	fi, err := q.file.Stat()
	if err == nil {
		err = q.file.Truncate(fi.Size()) // what is allocated beyond its size goes
	}
	if err != nil {
		return err
	}
	q.ahead = 0
	err = fn()
	if rerr := q.makeRoom(0); !errors.Is(rerr, ErrFull) {
		err = errors.Join(err, rerr)
	}
	q.measure()
	return err
}

// full makes an error ErrFull, with its cause, if it says that nothing was stored and that it may work later: the disk
// has no room, or the process may open no more files, which passes as well.
func full(err error) error {
	passes := isFull(err) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
	if passes && !errors.Is(err, ErrFull) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// changeRoom is about what a change needs at most. A path of pages comes with each place that changes; rows of one
// change are mostly neighbours.
func changeRoom(c *Change) int64 {
	need := int64(64 << 10)
	for i := range c.Queues {
		qc := &c.Queues[i]
		need += 16<<10 + int64(len(qc.Marks)/4) + 256*int64(len(qc.Rows)) + 16*int64(len(qc.RowsGone)) + 64*int64(len(qc.Gone))
		for j := range qc.Rows {
			need += int64(len(qc.Rows[j].FirstError) + len(qc.Rows[j].LastError))
		}
	}
	for i := range c.Bodies {
		it := &c.Bodies[i].Item
		need += 512 + int64(len(it.Body)+len(it.Attrs)+len(it.Key))
	}
	return need + 80*int64(len(c.Acks)) + 16*int64(len(c.Acked))
}

// fullWrite reports whether bbolt's commit failed for want of space in a write, or when it made the file longer: then
// nothing has changed and it may be tried again. The same from a flush is a failed flush. bbolt hands the error of
// growing on as text.
func fullWrite(err error) bool {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return (path.Op == "write" || path.Op == "truncate") && isFull(err)
	}
	text, grow := strings.CutPrefix(err.Error(), "file resize error: ")
	return grow && (strings.HasSuffix(text, syscall.ENOSPC.Error()) || strings.HasSuffix(text, syscall.EFBIG.Error()) ||
		strings.HasSuffix(text, syscall.EDQUOT.Error()))
}
