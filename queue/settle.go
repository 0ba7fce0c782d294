// Step 9 of an item's life: an attempt's outcome becomes done, a retry, or a dead letter.

package queue

import (
	"time"

	"holdfast/store"
)

// An Outcome is what an attempt led to.
type Outcome struct {
	Kind      OutcomeKind
	After     time.Duration // Retry, Hold: not again before this much from now; it survives a restart
	Err       string        // Retry, Hold, Bury: why
	Permanent bool          // Bury: by a permanent error
}

// OutcomeKind is what follows from an attempt.
type OutcomeKind int

// The outcomes.
const (
	Done  OutcomeKind = iota + 1 // the sink has it
	Retry                        // the attempt is spent, another follows
	Hold                         // the attempt is not spent: it was not the item's fault
	Bury                         // it becomes a dead letter
)

// holdWorth is from which wait on a repeated Hold is written down: a probe every few seconds is not worth a commit of
// 28 KiB each.
const holdWorth = 10 * time.Second

// Settle hands an outcome back. It changes memory only and wakes the feed; the mark follows within Options.MarkDelay. It
// waits for nothing but the queue's own lock, under which its feed may read the log. A delivery that is settled already is left as it is.
func (f *Feed) Settle(d Delivery, o Outcome) {
	u := d.u
	now := time.Now()
	u.mu.Lock()
	ended, owed := u.settle(d, o, now)
	u.mu.Unlock()
	if ended {
		u.ended(d, o, now, owed)
	}
	poke(u.wake)
	poke(u.all.dirty)
}

// Return gives a delivery back that was not attempted. It leaves no trace, and is handed out again.
func (f *Feed) Return(d Delivery) {
	u := d.u
	u.mu.Lock()
	switch {
	case d.row == nil && u.out.get(d.slot) != nil:
		u.out.giveBack(d.slot)
	case d.row != nil && d.current():
		d.row.Next = 0
		u.rows.put(d.row)
	}
	u.mu.Unlock()
	poke(u.wake)
}

// ended keeps the books of a delivery that is over.
func (u *queue) ended(d Delivery, o Outcome, now time.Time, owed bool) {
	u.all.room.change(u.number, store.Tally{Items: -1, Bytes: -int64(len(d.Item.Body))})
	u.all.metrics.settled(u, d, o, now)
	if owed {
		u.all.join.settled(d.Item.Seq, u.number)
	}
	if u.all.unmarked.Add(1) >= int64(u.all.o.MarkEvery) {
		poke(u.all.kick)
	}
}

// current reports whether the row is still out as it was handed to this delivery.
func (d *Delivery) current() bool { return d.row.out && d.row.turn == d.turn }

// settle is the state step of one delivery:
//
//	              Retry, Hold                    due
//	stream ───────────────────────▶ row, later ───────▶ row, out ──▶ Done: gone   Retry, Hold: later   Bury: dead
//	       ── Done ──▶ marked   ── Bury ──▶ row, dead
//
// It returns whether the delivery is over, and whether the ack-join still waited for it. u.mu is held.
func (u *queue) settle(d Delivery, o Outcome, now time.Time) (ended, owed bool) {
	w := d.row
	if w == nil {
		s := u.out.get(d.slot)
		if s == nil {
			return false, false
		}
		u.out.takeBack(d.slot)
		u.out.settle(s)
		w = &row{Row: store.Row{Seq: d.Item.Seq, Owes: true, Bytes: int64(len(d.Item.Body))}}
	} else if !d.current() {
		return false, false
	}
	owed = w.Owes
	switch o.Kind {
	case Done:
		u.done(d.row)
	case Bury:
		u.bury(d.row != nil, w, o, now)
	default:
		u.again(d.row != nil, w, o, now)
		u.books.dirty = u.books.dirty || w.dirty
		return false, owed
	}
	u.books.dirty = true
	u.counts.Settled = u.counts.Settled.Add(store.Tally{Items: 1, Bytes: w.Bytes})
	return true, owed
}

func (u *queue) done(w *row) {
	if w == nil {
		return
	}
	u.rows.remove(w)
	if w.stored {
		u.books.gone[w.Seq] = true
	}
}

func (u *queue) bury(wasRow bool, w *row, o Outcome, now time.Time) {
	if wasRow {
		u.rows.remove(w)
	}
	w.note(o.Err, now)
	w.State, w.Owes, w.Permanent, w.Next = store.RowDead, false, o.Permanent, 0
	w.Attempts++
	u.books.dying[w.Seq] = w.Row
	u.counts.Dead = u.counts.Dead.Add(store.Tally{Items: 1, Bytes: w.Bytes})
}

// again makes the delivery wait for its next attempt. A row that only waits for a probe, again, is not written.
func (u *queue) again(wasRow bool, w *row, o Outcome, now time.Time) {
	w.dirty = w.dirty || !wasRow || o.Kind == Retry || o.After >= holdWorth
	w.note(o.Err, now)
	if o.Kind == Retry {
		w.Attempts++
	}
	w.State, w.Next = store.RowRetry, u.all.clock.now()+o.After.Milliseconds()
	u.rows.put(w)
}

// note records an attempt.
func (w *row) note(err string, now time.Time) {
	w.Last = now.UnixMilli()
	if w.First == 0 {
		w.First, w.FirstError = w.Last, err
	}
	w.LastError = err
}
