package queue

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"holdfast/store"
)

// An op is work on queues.db that the marker does between two mark commits, so that nothing is on its way meanwhile.
type op struct {
	do   func() error
	done chan error
}

// retryMarks is how long the marker waits before it tries again on a full disk.
const retryMarks = time.Second

// markLoop alone commits to queues.db: what was settled, MarkDelay after the first of it, or at once if somebody waits or
// much has gathered. It sleeps while nothing happens. When ctx ends it commits once more. An error is fatal.
func (q *Queues) markLoop(ctx context.Context) error {
	timer := time.NewTimer(0)
	timer.Stop()
	armed := false
	for {
		var err error
		select {
		case <-q.dirty:
			if !armed {
				timer.Reset(q.o.MarkDelay)
				armed = true
			}
			continue
		case <-timer.C:
			armed = false
			err = q.mark()
		case <-q.kick:
			err = q.mark()
		case o := <-q.ops:
			err = q.operate(o)
		case <-ctx.Done():
			return q.lastMark()
		}
		if full := errors.Is(err, store.ErrFull); full {
			q.stuck.Store(true)
			timer.Reset(retryMarks)
			armed, err = true, nil
		} else if q.stuck.Swap(false) {
			q.wakeFeeds()
		}
		if err != nil {
			return err
		}
	}
}

// lastMark commits what is left when the queue stops. On a full disk it stays: a restart repeats it.
func (q *Queues) lastMark() error {
	err := q.mark()
	if errors.Is(err, store.ErrFull) {
		q.o.Log.Warn("marks are not written: the disk is full", "err", err)
		return nil
	}
	return err
}

// operate does one op on a queues.db that shows everything up to now.
func (q *Queues) operate(o op) error {
	err := q.mark()
	if err == nil {
		err = o.do()
	}
	o.done <- err
	if _, fatal := errors.AsType[*store.FatalError](err); fatal || errors.Is(err, store.ErrFull) {
		return err
	}
	return nil
}

// exclusively has the marker do something.
func (q *Queues) exclusively(ctx context.Context, do func() error) error {
	o := op{do, make(chan error, 1)}
	select {
	case q.ops <- o:
	case <-q.stopped:
		return ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.done:
		return err
	case <-q.stopped:
		return ErrUncertain
	}
}

// mark makes durable what was settled until now, in one transaction over all queues, and then fires the acks that waited
// for it. Those who asked before the books were collected are answered after; nobody is before.
func (q *Queues) mark() error {
	acks := q.join.ready()
	q.unmarked.Store(0)
	var change store.Change
	change.QueueTime, change.WallTime = q.clock.stamp()
	var settled []uint64
	var queues []*queue
	for _, s := range q.sinks {
		if c, dirty := s.queue.collect(&settled); dirty {
			change.Queues, queues = append(change.Queues, c), append(queues, s.queue)
		}
	}
	owed := q.collectAcks(settled)
	if len(change.Queues)+len(acks)+len(owed.acks)+len(owed.acked)+len(q.kept.freed) > 0 || q.stepped(&change) {
		if err := q.write(change, queues, owed); err != nil {
			q.join.unready(acks)
			return err
		}
	}
	q.join.fire(acks, q.metrics)
	return q.tidy()
}

// stepped reports whether the wall clock was set since the newest commit: that is worth a commit of its own, as the next
// start would take it for time off. A clock that is slewed is not. An idle store is looked at as often as keepEvery says.
func (q *Queues) stepped(now *store.Change) bool {
	queue, wall := q.st.Times()
	by := time.Duration((now.WallTime-wall)-(now.QueueTime-queue)) * time.Millisecond
	return queue != 0 && by.Abs() > stepWorth
}

const stepWorth = time.Minute

// collect returns what a mark commit must write of a queue, and whether anything must. A queue that nobody reads passes
// what is not its own, too; where the log cannot be read its cursor stays, and its feed tells of it.
// The seqs that it owes no longer since the last time are added to settled.
func (u *queue) collect(settled *[]uint64) (c store.QueueChange, dirty bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, _ = u.peek()
	c.Number, c.Cursor, c.Counts = u.number, u.cursor(), u.counts
	if !u.books.dirty && c.Cursor == u.books.cursor {
		return c, false
	}
	c.Marks = u.out.marks()
	for seq := range u.marked { // they stay marks until the cursor is past them, not only pos
		if seq < c.Cursor {
			delete(u.marked, seq)
		} else {
			c.Marks = append(c.Marks, seq)
		}
	}
	slices.Sort(c.Marks)
	for _, w := range u.rows.all {
		if w.dirty {
			c.Rows = append(c.Rows, w.Row)
			w.dirty, w.stored = false, true
		}
	}
	for _, dead := range u.books.dying {
		c.Rows = append(c.Rows, dead)
	}
	for seq := range u.books.gone {
		c.RowsGone = append(c.RowsGone, seq)
	}
	slices.SortFunc(c.Rows, func(a, b store.Row) int { return cmp.Compare(a.Seq, b.Seq) }) // in their order they cost much less
	c.Gone = rangesOf(u.books.ended)
	*settled = append(*settled, u.books.acked...)
	u.books.acking, u.books.acked = u.books.acked, nil
	u.books.dirty, u.books.aside = false, 0
	return c, true
}

// commitWith commits a change together with the books of some queues as they stand, so that it agrees with them; add puts
// more into each. Only the marker calls it.
func (q *Queues) commitWith(change store.Change, queues []*queue, add func(*store.QueueChange)) error {
	change.QueueTime, change.WallTime = q.clock.stamp()
	var settled []uint64
	for _, u := range queues {
		u.mu.Lock()
		u.books.dirty = true // a change replaces the marks: they are written again, too
		u.mu.Unlock()
		c, _ := u.collect(&settled)
		if add != nil {
			add(&c)
		}
		change.Queues = append(change.Queues, c)
	}
	return q.write(change, queues, q.collectAcks(settled))
}

// write commits the books of some queues and the acks that were collected with them, and tells them what became of it.
func (q *Queues) write(change store.Change, queues []*queue, owed collected) error {
	change.Acks, change.Acked, change.Noted = owed.acks, owed.acked, owed.noted
	err := q.st.Commit(change)
	for i, u := range queues {
		u.committed(&change.Queues[i], err == nil)
	}
	q.acks.committed(owed, err == nil)
	return err
}

// committed forgets what has become durable; what did not is to be written again. What was settled since stays either way.
func (u *queue) committed(c *store.QueueChange, durable bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !durable {
		u.books.dirty, u.books.acked = true, append(u.books.acking, u.books.acked...)
		for i := range c.Rows {
			if w := u.rows.all[c.Rows[i].Seq]; w != nil {
				w.dirty = true
			}
		}
		return
	}
	u.books.cursor, u.books.acking = c.Cursor, nil
	for i := range c.Rows {
		if c.Rows[i].State == store.RowDead {
			delete(u.books.dying, c.Rows[i].Seq)
		}
	}
	for _, seq := range c.RowsGone {
		delete(u.books.gone, seq)
	}
	for _, g := range c.Gone {
		for seq := g.First; seq <= g.Last; seq++ {
			delete(u.books.ended, seq)
		}
	}
}

// rangesOf joins neighbours that ended for the same reason.
func rangesOf(ended map[uint64]store.Reason) (ranges []store.Gone) {
	for _, seq := range slices.Sorted(maps.Keys(ended)) {
		if n := len(ranges) - 1; n >= 0 && ranges[n].Last+1 == seq && ranges[n].Reason == ended[seq] {
			ranges[n].Last = seq
		} else {
			ranges = append(ranges, store.Gone{First: seq, Last: seq, Reason: ended[seq]})
		}
	}
	return ranges
}

// owesYet is owes, as the commit shows it whose books were just collected: what was settled since does not count.
func (u *queue) owesYet(seq uint64) (bool, error) {
	if owes, err := u.owes(seq); owes || err != nil {
		return owes, err
	}
	u.mu.Lock() // only now: it may have been settled between
	defer u.mu.Unlock()
	return slices.Contains(u.books.acked, seq), nil
}
