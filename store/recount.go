package store

import (
	"errors"
	"fmt"
	"io"
)

// recount makes the counts of the queues fit what they owe, after damage: waiting = accepted − settled + requeued. It reads
// all that waits. Where no header tells what was accepted, that is worked out, by every start until there is such a header;
// else what was settled is, durably. A start that dies before is followed by one that does it. What a frozen queue owes is not
// for the store to tell: its match is opaque here.
func (s *Store) recount() error {
	var c Change
	accepted := map[uint32]Tally{}
	for _, d := range s.queues.debts() {
		if accepted[d.number] = s.Accepted(d.number); d.last > 0 {
			continue
		}
		state, err := s.queues.loadQueue(d.number)
		if err != nil {
			return err
		}
		waits, dead, err := s.queues.sumRows(d.number)
		if err != nil {
			return err
		}
		stream, err := s.streamed(&d)
		if err != nil {
			return err
		}
		n := &state.Counts
		n.Dead = dead
		n.Requeued = Tally{max(0, n.Requeued.Items), max(0, n.Requeued.Bytes)}
		if waits = waits.Add(stream).Sub(s.log.torn.passed(&d)); !s.log.baseless {
			n.Settled = accepted[d.number].Add(n.Requeued).Sub(waits)
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
		t.recount = false
		return t.apply(c, 0)
	})
	return err
}

// mustRecount reports whether the counts may not fit what is owed.
func (q *queues) mustRecount() bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.recount
}

// putRecount writes meta/recount, which has no value, or takes it away.
func (t *transaction) putRecount(meta *entries) error {
	if !t.recount {
		_, err := meta.delete(keyRecount)
		return err
	}
	return meta.put(keyRecount, nil)
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

// sumRows counts the rows of a queue: those that wait, and the dead letters.
func (q *queues) sumRows(number uint32) (waiting, dead Tally, err error) {
	const some = 1000
	for from := uint64(0); ; {
		rows, err := q.rows(number, from, some, nil)
		if err != nil {
			return waiting, dead, err
		}
		for i := range rows {
			from = rows[i].Seq + 1
			if one := (Tally{1, rows[i].Bytes}); rows[i].State == RowDead {
				dead = dead.Add(one)
			} else {
				waiting = waiting.Add(one)
			}
		}
		if len(rows) < some {
			return waiting, dead, nil
		}
	}
}

// streamed counts what the stream of a queue has still to see, tombstones included. What the disk does not give, when it was
// tried for long enough, is healed on the way.
func (s *Store) streamed(d *debt) (sum Tally, err error) {
	given := int64(-1) // up to where the disk was given up
	for r := s.Reader(d.number, d.cursor); ; {
		b, err := r.Next()
		if at := int64(r.at); s.log.givesUp(err) && at > given {
			given = at
			s.Condemn(r.at)
			continue
		}
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
