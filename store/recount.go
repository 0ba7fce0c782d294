package store

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// recount makes the counts of the queues fit what they owe, after damage: waiting = accepted − settled + requeued. It reads
// all that waits. Where no header tells what was accepted, that is worked out, by every start until there is such a header;
// else what was settled is, durably. A start that dies before is followed by one that does it.
func (s *Store) recount() error {
	var c Change
	accepted := map[uint32]Tally{}
	for _, d := range s.queues.debts() {
		state, err := s.queues.loadQueue(d.number)
		if err != nil {
			return err
		}
		waits, err := s.waits(&d)
		if err != nil {
			return err
		}
		dead, err := s.queues.rows(d.number, 0, math.MaxInt, []RowState{RowDead})
		if err != nil {
			return err
		}
		n := &state.Counts
		n.Dead = tallyRows(dead)
		n.Requeued = Tally{max(0, n.Requeued.Items), max(0, n.Requeued.Bytes)}
		if waits = waits.Sub(s.log.torn.passed(&d)); !s.log.baseless {
			n.Settled = s.Accepted(d.number).Add(n.Requeued).Sub(waits)
		}
		short := Tally{max(0, -n.Settled.Items), max(0, -n.Settled.Bytes)}
		n.Settled, n.Requeued = n.Settled.Add(short), n.Requeued.Add(short)
		accepted[d.number] = n.Settled.Sub(n.Requeued).Add(waits)
		c.Queues = append(c.Queues, QueueChange{Number: d.number, Cursor: state.Cursor, Marks: state.Marks, Counts: *n})
	}
	s.log.mu.Lock()
	s.log.accepted = accepted
	s.log.mu.Unlock()
	if err := s.queues.recounted(&c); err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("count what is owed: %w", err)
	}
	return nil
}

// recounted makes counts durable that fit again, and forgets nothing that the start may still be asked for.
func (q *queues) recounted(c *Change) error {
	_, err := q.update(changeRoom(c), func(t *transaction) error {
		t.meta.Recount = false
		return t.apply(c, 0)
	})
	return err
}

// mustRecount reports whether the counts may not fit what is owed.
func (q *queues) mustRecount() bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.meta.Recount
}

// passed counts what a queue's stream is past of the items that RewriteTail appends again, which counts them then.
func (t *tornGroup) passed(d *debt) (sum Tally) {
	for i := range t.items {
		if it := &t.items[i]; it.Mask.Has(d.number) && !d.wants(it.Seq, it.Mask) {
			sum = sum.Add(Tally{1, int64(len(it.Body))})
		}
	}
	return sum
}

// waits counts what a queue is still owed, tombstones included.
func (s *Store) waits(d *debt) (sum Tally, err error) {
	rows, err := s.queues.rows(d.number, 0, math.MaxInt, []RowState{RowReady, RowRetry, RowNotDue, RowBlocked})
	if err != nil {
		return sum, err
	}
	sum = tallyRows(rows)
	for r := s.Reader(d.number, d.cursor); ; {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		for i := range b.Items {
			it := &b.Items[i]
			switch {
			case !d.wants(it.Seq, it.Mask):
			case it.Lost != nil:
				sum = sum.Add(Tally{1, it.Lost.Bytes})
			default:
				sum = sum.Add(Tally{1, int64(len(it.Body))})
			}
		}
	}
}

func tallyRows(rows []Row) (sum Tally) {
	for i := range rows {
		sum = sum.Add(Tally{1, rows[i].Bytes})
	}
	return sum
}
