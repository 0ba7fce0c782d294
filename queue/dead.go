package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast/store"
)

// A DeadLetter is an item that a sink never took, with its history. It is kept until someone decides.
type DeadLetter struct {
	Sink                  string
	ID                    uuid.UUID // of a lost one of which it is not known when it was accepted, the time in it is 0
	Accepted, Died        time.Time // Accepted is zero where it is not known
	Attempts              int
	FirstError, LastError string
	Permanent             bool
	Lost                  bool // its item is damaged or missing: the history is left, and nothing to send again
	Item                  store.Item
}

// A DeadFilter chooses dead letters: those that fit all of what is set. All chooses without another condition, and an
// empty filter chooses nothing.
type DeadFilter struct {
	Sink          string
	IDs           []uuid.UUID
	ErrorContains string
	DiedBefore    time.Time
	All           bool
	DryRun        bool // count them only
}

// bulk is how many dead letters one transaction changes at most.
const bulk = 10_000

// Dead lists dead letters, of one sink or (empty) of all, by sink and seq. next continues the list as after; it is empty
// at the end.
func (q *Queues) Dead(sink, after string, limit int) (list []DeadLetter, next string, err error) {
	from, seq, err := parseAfter(after)
	if err != nil {
		return nil, "", err
	}
	if sink != "" {
		if _, err := q.sinkNamed(sink); err != nil {
			return nil, "", err
		}
	}
	for _, s := range q.sorted() {
		if sink != "" && s.Name != sink || s.Name < from {
			continue
		}
		if s.Name > from {
			seq = 0
		}
		rows, err := q.st.Rows(s.queue.number, seq, limit-len(list)+1, store.RowDead)
		if err != nil {
			return nil, "", err
		}
		for _, w := range rows {
			if len(list) == limit {
				return list, s.Name + "/" + strconv.FormatUint(w.Seq, 10), nil
			}
			d, err := q.letter(s, w)
			if err != nil {
				return nil, "", err
			}
			list = append(list, d)
		}
	}
	return list, "", nil
}

// parseAfter reads what Dead gave as next: the sink and the seq to go on with.
func parseAfter(after string) (sink string, seq uint64, err error) {
	if after == "" {
		return "", 0, nil
	}
	sink, n, _ := strings.Cut(after, "/")
	if seq, err = strconv.ParseUint(n, 10, 64); err != nil {
		return "", 0, &InvalidError{0, "after", "is not what a list gave as next"}
	}
	return sink, seq, nil
}

// DeadLetter returns one. A lost one of which it is not known when it was accepted is found under any id of its seq, and has
// that one. Errors: ErrNoSink, ErrNotFound.
func (q *Queues) DeadLetter(sink string, id uuid.UUID) (DeadLetter, error) {
	s, err := q.sinkNamed(sink)
	if err != nil {
		return DeadLetter{}, err
	}
	seq, err := q.seqOf(id)
	if err != nil {
		return DeadLetter{}, err
	}
	w, found, err := q.st.Row(s.queue.number, seq)
	if err != nil {
		return DeadLetter{}, err
	}
	if !found || w.State != store.RowDead {
		return DeadLetter{}, ErrNotFound
	}
	d, err := q.letter(s, w)
	if d.Lost && d.Accepted.IsZero() {
		d.ID = id
	}
	if err == nil && d.ID != id {
		err = ErrNotFound
	}
	return d, err
}

func (q *Queues) letter(s *sink, w store.Row) (DeadLetter, error) {
	it, err := q.st.Item(s.queue.number, w.Seq)
	lost := errors.Is(err, store.ErrLost) || errors.Is(err, store.ErrNotFound) // the latter: damage that nobody saw
	if err != nil && !lost {
		return DeadLetter{}, fmt.Errorf("dead letter %d of sink %s: %w", w.Seq, s.Name, err)
	}
	d := DeadLetter{
		Sink: s.Name, ID: makeID(it.Time, w.Seq, q.tag), Died: time.UnixMilli(w.Last), Attempts: int(w.Attempts),
		FirstError: w.FirstError, LastError: w.LastError, Permanent: w.Permanent, Lost: lost, Item: it,
	}
	if it.Time != 0 {
		d.Accepted = time.UnixMilli(it.Time)
	}
	return d, nil
}

// Requeue sends dead letters to their sink again, and to that sink alone: same ids, a new retry budget, and no ack to
// anybody. It returns how many; those are durable when it does, also if an error ended it early. The lost ones among those
// that were chosen are counted too, and stay: to send there is nothing, and only Purge takes them away.
func (q *Queues) Requeue(ctx context.Context, f DeadFilter) (n, lost int, err error) {
	err = q.eachDead(ctx, f, func(s *sink, chosen []store.Row) error {
		dead, err := q.withItems(s, chosen)
		lost += len(chosen) - len(dead)
		if err == nil && len(dead) > 0 && !f.DryRun {
			err = s.queue.requeue(dead)
		}
		if err == nil {
			n += len(dead)
		}
		return err
	})
	return n, lost, err
}

// withItems leaves out the rows whose items are known to be lost.
func (q *Queues) withItems(s *sink, rows []store.Row) (there []store.Row, err error) {
	there = slices.DeleteFunc(slices.Clone(rows), func(w store.Row) bool {
		lost, lerr := q.st.Lost(s.queue.number, w.Seq)
		err = cmp.Or(err, lerr)
		return lost
	})
	return there, err
}

// requeue makes dead letters ready. Only the marker calls it.
func (u *queue) requeue(dead []store.Row) error {
	sum := tally(dead)
	for i := range dead {
		dead[i].State, dead[i].Attempts, dead[i].Next, dead[i].Permanent = store.RowReady, 0, 0, false
	}
	return u.apply(store.QueueChange{Rows: dead}, store.Counts{Requeued: sum, Dead: store.Tally{}.Sub(sum)}, dead[0].Seq)
}

// Purge deletes dead letters, lost ones too, and returns how many; those are durable when it does, also if an error ended
// it early. That it was so stays known until their segment goes.
func (q *Queues) Purge(ctx context.Context, f DeadFilter) (n int, err error) {
	err = q.eachDead(ctx, f, func(s *sink, dead []store.Row) error {
		if !f.DryRun {
			if err := q.purge(s, dead, byOperator); err != nil {
				return err
			}
		}
		n += len(dead)
		return nil
	})
	return n, err
}

// eachDead visits the dead letters that a filter chooses, as many at a time as one transaction may change, between mark
// commits.
func (q *Queues) eachDead(ctx context.Context, f DeadFilter, visit func(*sink, []store.Row) error) error {
	if f.Sink != "" {
		if _, err := q.sinkNamed(f.Sink); err != nil {
			return err
		}
	}
	if !f.All && f.Sink == "" && len(f.IDs) == 0 && f.ErrorContains == "" && f.DiedBefore.IsZero() {
		return nil
	}
	for _, s := range q.sorted() {
		if f.Sink != "" && s.Name != f.Sink {
			continue
		}
		for from, more := uint64(0), true; more; {
			err := q.exclusively(ctx, func() (err error) {
				var dead []store.Row
				if dead, from, more, err = q.choose(s, f, from); err != nil || len(dead) == 0 {
					return err
				}
				return visit(s, dead)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// choose reads the next dead letters of a sink, from a seq on, and keeps those that the filter fits.
func (q *Queues) choose(s *sink, f DeadFilter, from uint64) (dead []store.Row, next uint64, more bool, err error) {
	var seqs []uint64
	for _, id := range f.IDs {
		seq, err := q.seqOf(id)
		if err != nil {
			return nil, 0, false, fmt.Errorf("%w: %s", err, id)
		}
		seqs = append(seqs, seq)
	}
	rows, err := q.st.Rows(s.queue.number, from, bulk, store.RowDead)
	if err != nil || len(rows) == 0 {
		return nil, 0, false, err
	}
	next, more = rows[len(rows)-1].Seq+1, len(rows) == bulk
	return slices.DeleteFunc(rows, func(w store.Row) bool {
		return len(seqs) > 0 && !slices.Contains(seqs, w.Seq) ||
			!strings.Contains(w.LastError, f.ErrorContains) ||
			!f.DiedBefore.IsZero() && w.Last >= f.DiedBefore.UnixMilli()
	}), next, more, nil
}

// apply commits a change to this queue's rows, on top of the books as they stand, and then takes it over in memory. Only
// the marker calls it, right after a mark commit: but lanes go on settling meanwhile, and what they add is not lost.
func (u *queue) apply(c store.QueueChange, by store.Counts, requeuedFrom uint64) error {
	err := u.all.commitWith(store.Change{}, []*queue{u}, func(base *store.QueueChange) {
		base.Counts.Requeued, base.Counts.Dead = base.Counts.Requeued.Add(by.Requeued), base.Counts.Dead.Add(by.Dead)
		base.Rows, base.RowsGone, base.Gone = append(base.Rows, c.Rows...), append(base.RowsGone, c.RowsGone...), append(base.Gone, c.Gone...)
	})
	if err != nil {
		return err
	}
	u.mu.Lock()
	u.counts.Requeued = u.counts.Requeued.Add(by.Requeued)
	u.countDead(by.Dead)
	if by.Requeued.Items > 0 {
		u.rows.requeued(requeuedFrom)
	}
	u.mu.Unlock()
	u.all.room.change(u.number, by.Requeued)
	u.all.room.wake() // the dead letters may have been full
	poke(u.wake)
	poke(u.all.dirty) // a segment may be free now
	return nil
}

func tally(rows []store.Row) (t store.Tally) {
	for i := range rows {
		t = t.Add(store.Tally{Items: 1, Bytes: rows[i].Bytes})
	}
	return t
}

// Pause stops handing out the sink's deliveries; what is out comes to its end. It is durable when it returns nil.
func (q *Queues) Pause(ctx context.Context, sink string) error {
	return q.setState(ctx, sink, store.Paused)
}

// Resume ends a Pause. It is durable when it returns nil.
func (q *Queues) Resume(ctx context.Context, sink string) error {
	return q.setState(ctx, sink, store.Active)
}

func (q *Queues) setState(ctx context.Context, name string, to store.SinkState) error {
	s, err := q.sinkNamed(name)
	if err != nil {
		return err
	}
	if s.orphan {
		return fmt.Errorf("%w: %q is not configured", ErrNoSink, name)
	}
	return q.exclusively(ctx, func() error {
		recs := q.st.Sinks()
		i := slices.IndexFunc(recs, func(r store.Sink) bool { return r.Name == name })
		if recs[i].State != to {
			rec := recs[i]
			rec.State = to
			change := store.Change{Sinks: []store.Sink{rec}, Noted: q.noted()}
			change.QueueTime, change.WallTime = q.clock.stamp()
			if err := q.st.Commit(change); err != nil {
				return err
			}
		}
		s.paused.Store(to == store.Paused)
		poke(s.queue.wake)
		return nil
	})
}
