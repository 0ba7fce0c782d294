// Step 10 of an item's life: what was settled becomes durable in the queues' buckets, many at a time.

package store

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Commit makes a change durable, whole or not at all, as one transaction over all queues: when it returns nil the
// change survives a power cut. What did not change is not written; an empty Change makes an empty commit. Where a row
// is both written and gone, it goes. A body without a row is not kept, and goes with its last row. A sink that is
// Removed and has no queues is forgotten; the bucket of a queue that no sink has any more goes, and may hold no row.
//
// ErrFull, wrapped: nothing changed, queues.db could not grow. *FatalError: uncertain, and every Commit after it fails
// with the same, as does every Commit after a fatal Append. Another error is the caller's mistake: nothing changed.
func (s *Store) Commit(c Change) error {
	if err := s.log.failure(); err != nil {
		return err
	}
	v := s.logView()
	if c.Noted != 0 {
		v.synced = min(v.synced, c.Noted)
	}
	moved, err := s.queues.commit(&c, v)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if moved {
		s.log.rotateNext()
	}
	return nil
}

// A logView is what a commit writes down of the log.
type logView struct {
	next, oldest, synced uint64
	serial               uint64 // of the oldest segment
	idTime               int64
}

func (s *Store) logView() logView {
	serial, _ := s.log.oldestSegment()
	return logView{next: s.log.next(), oldest: s.log.oldest(), synced: s.log.synced(), serial: serial, idTime: s.log.idTime()}
}

// commit reports whether the sinks have changed.
func (q *queues) commit(c *Change, v logView) (moved bool, err error) {
	t, err := q.update(changeRoom(c), func(t *transaction) error {
		t.see(v)
		if c.QueueTime != 0 {
			t.meta.QueueTime, t.wall = c.QueueTime, wallPair{c.QueueTime, c.WallTime}
		}
		t.fillHoles(min(v.oldest, q.lowestCursor()))
		t.forgetDamage(v)
		return t.apply(c, v.oldest)
	})
	if err != nil {
		return false, err
	}
	return t.moved, nil
}

// clearClean takes the clean-stop flag away, durably: it comes before the first append.
func (q *queues) clearClean() error {
	q.mu.RLock()
	clean := q.meta.Clean
	q.mu.RUnlock()
	if !clean {
		return nil
	}
	_, err := q.update(0, func(t *transaction) error {
		t.meta.Clean = false
		return nil
	})
	return err
}

// note writes down what is known of the log.
func (q *queues) note(v logView) error {
	_, err := q.update(0, func(t *transaction) error {
		t.see(v)
		return nil
	})
	return err
}

// setClean leaves word that the store was closed in order.
func (q *queues) setClean(v logView) error {
	_, err := q.update(0, func(t *transaction) error {
		t.see(v)
		t.meta.Clean = true
		return nil
	})
	return err
}

// update runs one transaction. Memory changes only after it is durable.
func (q *queues) update(room int64, fill func(*transaction) error) (*transaction, error) {
	q.writing.Lock()
	defer q.writing.Unlock()
	if err := q.failure(); err != nil {
		return nil, err
	}
	if err := q.makeRoom(room); err != nil {
		return nil, q.judge(err)
	}
	var t *transaction
	err := guard(q.path, func() (err error) {
		t, err = q.begin()
		if err != nil {
			return err
		}
		if err := fill(t); err != nil {
			return err
		}
		if err := t.finish(); err != nil {
			return err
		}
		return q.durable(t.tx)
	})
	if err != nil {
		return nil, q.judge(errors.Join(err, q.abandon(t)))
	}
	q.remember(t)
	return t, nil
}

// errUncertain marks what came out of bbolt's own commit.
type errUncertain struct{ error }

func (e errUncertain) Unwrap() error { return e.error }

// durable commits, and counts the pages that it wrote: those it allocated, and one meta page.
func (q *queues) durable(tx *bolt.Tx) error {
	page := int64(q.db.Info().PageSize)
	err := tx.Commit()
	stats := tx.Stats()
	q.written.Add(stats.GetPageAlloc() + page)
	switch {
	case err == nil:
		q.measure()
		return nil
	case fullWrite(err):
		q.taken.Store(q.size())
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return errUncertain{err}
}

// abandon ends a transaction that was not committed. Where bbolt cannot even do that, it is never asked again.
func (q *queues) abandon(t *transaction) error {
	if t == nil {
		return nil
	}
	err := guard(q.path, func() error {
		if err := t.tx.Rollback(); !errors.Is(err, berrors.ErrTxClosed) {
			return err
		}
		return nil
	})
	if err != nil {
		q.stuck = true
		return errUncertain{err}
	}
	return nil
}

// judge tells want of space and a caller's mistake from what ends the process.
func (q *queues) judge(err error) error {
	if _, ok := errors.AsType[errUncertain](err); ok {
		return q.fail("commit", err)
	}
	if _, ok := errors.AsType[*mistake](err); ok || errors.Is(err, ErrFull) {
		return err
	}
	return q.fail("commit", err)
}

// A mistake is a change that no caller may ask for.
type mistake struct{ what string }

func (m *mistake) Error() string { return m.what }

// remember takes over what a transaction made durable.
func (q *queues) remember(t *transaction) {
	q.pruned = max(q.pruned, t.pruned)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.meta, q.wall, q.recount, q.holes, q.hurt = t.meta, t.wall, t.recount, t.holes, t.damage
	if t.moved {
		q.sinks = t.sinkList
	}
	for number, qt := range t.open {
		if qt.deleted {
			delete(q.queues, number)
			continue
		}
		m := q.queues[number]
		if m == nil {
			m = &queueMemory{rows: map[uint64]Tally{}}
			q.queues[number] = m
		}
		m.cursor = qt.cursor
		if qt.marked {
			m.marks = qt.marks
		}
		for chunk, delta := range qt.rows {
			if sum := m.rows[chunk].Add(delta); sum.Items == 0 {
				delete(m.rows, chunk)
			} else {
				m.rows[chunk] = sum
			}
		}
	}
}
