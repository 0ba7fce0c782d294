package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/store"
)

// Check counts what waits, item by item, and compares it with the books; and it looks whether every row is where it should
// be. Run has ended, and nobody uses q.
func (q *Queues) Check() error {
	var errs []error
	for _, s := range q.sinks {
		if err := s.queue.check(); err != nil {
			errs = append(errs, fmt.Errorf("sink %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (u *queue) check() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.checkPlaces(); err != nil {
		return err
	}
	n, err := u.count()
	if _, damaged := errors.AsType[*store.DamageError](err); damaged || err != nil {
		return nil // a test has broken the log
	}
	if w := u.waiting(); n != w {
		return fmt.Errorf("%+v wait, the books say %+v", n, w)
	}
	if h := u.all.room.holds[u.number]; h != nil && h.Tally != n {
		return fmt.Errorf("%+v wait, the room says %+v", n, h.Tally)
	}
	return nil
}

// checkPlaces: every row that is not out is in one place, and of a key at most one delivery is under way.
func (u *queue) checkPlaces() error {
	r, seen, heads := &u.rows, map[uint64]bool{}, map[uint64]int{}
	place := func(h *rowHeap) error {
		for _, w := range h.rows {
			if seen[w.Seq] || w.out || r.all[w.Seq] != w || w.place != h || h.rows[w.at[0]] != w || r.aged.rows[w.at[1]] != w {
				return fmt.Errorf("row %d is in two places, or in none that it should be", w.Seq)
			}
			seen[w.Seq] = true
		}
		return nil
	}
	errs := []error{place(&r.later), place(&r.early), place(&r.soon), place(&r.coming)}
	for key, line := range r.lines {
		errs = append(errs, place(line))
		heads[key] = 0
	}
	for _, w := range r.all {
		if w.out {
			seen[w.Seq] = true
			heads[w.KeyHash]++
		}
	}
	for _, w := range append(append([]*row{}, r.later.rows...), r.soon.rows...) {
		heads[w.KeyHash]++
	}
	for _, s := range u.out.slots {
		if s.item != nil {
			heads[u.keyOf(s.item)]++
		}
	}
	for key, n := range heads {
		if u.sink.Order == Key && key != 0 && n != 1 {
			errs = append(errs, fmt.Errorf("%d deliveries of a key are under way", n))
		}
	}
	if len(r.aged.rows) != len(r.all)-len(r.sent.rows) {
		errs = append(errs, fmt.Errorf("%d rows are ordered by age, %d are not out", len(r.aged.rows), len(r.all)-len(r.sent.rows)))
	}
	if len(seen) != len(r.all) {
		errs = append(errs, fmt.Errorf("%d rows, %d of them in a place", len(r.all), len(seen)))
	}
	return errors.Join(errs...)
}

// count is what waits: what is out of the stream and what is ahead in it, and rows in memory and on disk.
func (u *queue) count() (n store.Tally, err error) {
	add := func(bytes int64) { n = n.Add(store.Tally{Items: 1, Bytes: bytes}) }
	for _, s := range u.out.slots {
		if s.item != nil {
			add(int64(len(s.item.Body)))
		}
	}
	for _, w := range u.rows.all {
		add(w.Bytes)
	}
	rows, err := u.all.st.Rows(u.number, 0, 1<<20, store.RowReady)
	if err != nil {
		return n, err
	}
	for _, w := range rows {
		if u.rows.all[w.Seq] == nil && !u.hasEnded(w.Seq) {
			add(w.Bytes)
		}
	}
	for r := u.all.st.Reader(u.number, u.pos); ; {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		for i := range b.Items {
			if it := &b.Items[i]; it.Seq >= u.pos && it.Mask.Has(u.number) && !u.marked[it.Seq] {
				if it.Lost != nil {
					add(it.Lost.Bytes)
					continue
				}
				add(int64(len(it.Body)))
			}
		}
	}
}

// Between has something done between a mark commit and an operation's, and then commits the books of one sink alone, as
// operations do.
func (q *Queues) Between(do func(), sink string, after func()) error {
	s, err := q.sinkNamed(sink)
	if err != nil {
		return err
	}
	return q.exclusively(context.Background(), func() error {
		do()
		err := q.commitWith(store.Change{}, []*queue{s.queue}, nil)
		after()
		return err
	})
}

// FailBetween is Between where the commit of that sink alone fails, and one of another follows.
func (q *Queues) FailBetween(do func(), failing, next string, after func()) error {
	f, err := q.sinkNamed(failing)
	if err != nil {
		return err
	}
	return q.Between(func() {
		do()
		if q.commitWith(store.Change{}, []*queue{f.queue}, func(c *store.QueueChange) { c.Number = 99 }) == nil {
			panic("it did not fail")
		}
	}, next, after)
}
