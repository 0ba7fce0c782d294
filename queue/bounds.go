package queue

import (
	"errors"

	"holdfast/store"
)

// trimDead purges the dead letters that are beyond their sinks' bounds, the oldest first, some in each call. Nothing goes
// silently: it is counted and logged.
func (q *Queues) trimDead() error {
	var errs []error
	for _, s := range q.sinks {
		if s.Dead.MaxAge > 0 {
			old, err := q.st.Expired(s.queue.number, q.clock.now(), page)
			errs = append(errs, err, q.purge(s, old, "expired"))
		}
		if over := s.queue.deadOver(); over > 0 {
			rows, err := q.st.Rows(s.queue.number, 0, page, store.RowDead)
			errs = append(errs, err, q.purge(s, oldest(rows, over), "full"))
		}
	}
	return errors.Join(errs...)
}

// countDead changes how many dead letters there are, and whether they hold the sink. u.mu is held.
func (u *queue) countDead(by store.Tally) {
	u.counts.Dead = u.counts.Dead.Add(by)
	d := u.sink.Dead
	u.held.Store(d.MaxBytes > 0 && d.OnFull == HoldSink && u.counts.Dead.Bytes >= d.MaxBytes)
}

// deadOver is by how many bytes the dead letters are over a bound that purges them.
func (u *queue) deadOver() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if d := u.sink.Dead; d.MaxBytes > 0 && d.OnFull == PurgeOldest {
		return u.counts.Dead.Bytes - d.MaxBytes
	}
	return 0
}

// oldest cuts rows to as few of the first ones as have so many bytes.
func oldest(rows []store.Row, bytes int64) []store.Row {
	for i, w := range rows {
		if bytes -= w.Bytes; bytes <= 0 {
			return rows[:i+1]
		}
	}
	return rows
}

// purge deletes dead letters; that it was so stays known until their segment goes.
func (q *Queues) purge(s *sink, dead []store.Row, why string) error {
	if len(dead) == 0 {
		return nil
	}
	var c store.QueueChange
	for _, w := range dead {
		c.RowsGone = append(c.RowsGone, w.Seq)
		c.Gone = append(c.Gone, store.Gone{First: w.Seq, Last: w.Seq, Reason: store.GonePurged})
	}
	if err := s.queue.apply(c, store.Counts{Dead: store.Tally{}.Sub(tally(dead))}, 0); err != nil {
		return err
	}
	q.metrics.purged(s.queue, why, len(dead))
	if why != byOperator {
		q.o.Log.Warn("dead letters purged", "sink", s.Name, "n", len(dead), "reason", why)
	}
	return nil
}

const byOperator = "operator"
