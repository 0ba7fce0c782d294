package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/store"
)

// A State is what is owed or dead: by sink, then by the item's number.
type State map[string]map[int]string

// The states of a delivery.
const (
	Waiting = "waiting"
	Gone    = "" // settled
)

// Retry and Dead are the states after so many attempts.
func Retry(attempts int) string { return fmt.Sprint("retry ", attempts) }

// Dead is a dead letter after so many attempts.
func Dead(attempts int) string { return fmt.Sprint("dead ", attempts) }

// A Look is a store as it can be seen.
type Look struct {
	State State
	IDs   map[int]string
	Wrong []string // what no state explains: bodies that are not the item's, ids that differ, counts that are not those of the state
}

// See looks at all of a store: what the feeds hand out, with bodies, the rows that wait for their time, the dead letters,
// and the counts. The deliveries are out afterwards.
func See(st *store.Store, q *queue.Queues) (*Look, error) {
	l := &Look{State: State{}, IDs: map[int]string{}}
	for i, s := range q.Sinks() {
		if s.State == "orphan" {
			l.wrong("sink %s is an orphan", s.Name)
		}
		l.State[s.Name] = map[int]string{}
		if err := errors.Join(l.dead(q, s.Name), l.stream(q, s.Name), l.later(st, s.Name)); err != nil {
			return l, err
		}
		l.counts(s, q.Sinks()[i])
	}
	return l, nil
}

func (l *Look) wrong(format string, args ...any) {
	l.Wrong = append(l.Wrong, fmt.Sprintf(format, args...))
}

// add takes one delivery.
func (l *Look) add(sink string, it *store.Item, id uuid.UUID, state string) {
	tag := tagOf(it.Attrs)
	switch was, twice := l.State[sink][tag]; {
	case tag < 0:
		l.wrong("sink %s has seq %d, which nobody put", sink, it.Seq)
		return
	case twice:
		l.wrong("sink %s has item %d twice: %s and %s", sink, tag, was, state)
	case !isBody(it.Body, tag):
		l.wrong("sink %s: the body of item %d is not its own: %.40q, %d bytes", sink, tag, it.Body, len(it.Body))
	}
	l.State[sink][tag] = state
	if id == uuid.Nil {
		return
	}
	if old := l.IDs[tag]; old != "" && old != id.String() {
		l.wrong("sink %s: item %d has the ids %s and %s", sink, tag, old, id)
	}
	l.IDs[tag] = id.String()
}

func (l *Look) dead(q *queue.Queues, sink string) error {
	letters, _, err := q.Dead(sink, "", 100_000)
	for i := range letters {
		d := &letters[i]
		l.add(sink, &d.Item, d.ID, Dead(d.Attempts))
	}
	return err
}

// later takes what is not handed out yet: rows that wait for their time, and what the stream has that is not due.
func (l *Look) later(st *store.Store, sink string) error {
	for _, rec := range st.Sinks() {
		if rec.Name != sink {
			continue
		}
		for _, u := range rec.Queues {
			rows, err := st.Rows(u.Number, 0, 100_000, store.RowRetry, store.RowNotDue, store.RowBlocked)
			if err != nil {
				return err
			}
			for _, w := range rows {
				it, err := st.Item(u.Number, w.Seq)
				if err != nil {
					return fmt.Errorf("row %d of sink %s: %w", w.Seq, sink, err)
				}
				if state := attempted(int(w.Attempts)); l.State[sink][tagOf(it.Attrs)] != state { // it was handed out: it is due
					l.add(sink, &it, uuid.Nil, state)
				}
			}
			if err := l.early(st, sink, u.Number); err != nil {
				return err
			}
		}
	}
	return nil
}

// early takes what the stream has that is not due for long, and is no row yet.
func (l *Look) early(st *store.Store, sink string, number uint32) error {
	u, err := st.LoadQueue(number)
	if err != nil {
		return err
	}
	for r := st.Reader(number, u.Cursor); ; {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range b.Items {
			it := &b.Items[i]
			if it.NotBefore == 0 || it.Seq < u.Cursor || !it.Mask.Has(number) || slices.Contains(u.Marks, it.Seq) {
				continue
			}
			if _, row, err := st.Row(number, it.Seq); err != nil || row {
				if err != nil {
					return err
				}
				continue
			}
			l.add(sink, it, uuid.Nil, Waiting)
		}
	}
}

// stream takes what is handed out now.
func (l *Look) stream(q *queue.Queues, sink string) error {
	ds, err := handed(q, sink)
	for i := range ds {
		l.add(sink, ds[i].Item, ds[i].ID, attempted(ds[i].Attempts))
	}
	return err
}

func attempted(n int) string {
	if n == 0 {
		return Waiting
	}
	return Retry(n)
}

// handed are all deliveries that a sink is handed now.
func handed(q *queue.Queues, sink string) ([]queue.Delivery, error) {
	f, err := q.Feed(sink)
	if err != nil {
		return nil, err
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	var all []queue.Delivery
	for {
		more, err := f.Next(now, all, 4096)
		all = more
		if errors.Is(err, context.Canceled) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// counts compares the gauges with what was seen. What was handed out since still waits.
func (l *Look) counts(before, after queue.SinkStatus) {
	waiting, dead := int64(0), int64(0)
	for _, state := range l.State[before.Name] {
		if state == Waiting || state[0] == 'r' {
			waiting++
		} else {
			dead++
		}
	}
	if before.Waiting != waiting || before.Dead != dead || after.Waiting != waiting {
		l.wrong("sink %s: %d wait and %d are dead, but the gauges say %d (then %d) and %d", before.Name, waiting, dead, before.Waiting, after.Waiting, before.Dead)
	}
}
