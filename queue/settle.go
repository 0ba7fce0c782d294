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
	Untried   bool          // Bury: without an attempt
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
// waits for nothing but the queue's own lock, under which its feed may read the log. A delivery that is settled already
// is left as it is.
func (f *Feed) Settle(d Delivery, o Outcome) { f.SettleAll([]Delivery{d}, o) }

// SettleAll settles deliveries that had one outcome, at the price of one lock and one look at the clock: a batch of 256
// spent a third of its time on those.
func (f *Feed) SettleAll(deliveries []Delivery, o Outcome) {
	u, now := f.u, time.Now()
	u.mu.Lock()
	for i := range deliveries {
		if d := &deliveries[i]; d.out() {
			u.settle(d, o, now)
		}
	}
	dirty := u.books.dirty
	u.mu.Unlock()
	poke(u.wake)
	if dirty {
		poke(u.all.dirty)
	}
}

// Return gives a delivery back that was not attempted. It leaves no trace, and is handed out again.
func (f *Feed) Return(d Delivery) {
	u := d.u
	u.mu.Lock()
	switch {
	case !d.out():
	case d.row == nil:
		u.out.giveBack(d.slot)
		u.all.returns.Add(1)
	default:
		d.row.Next = 0
		u.rows.put(d.row)
	}
	u.mu.Unlock()
	poke(u.wake)
}

// out reports whether the delivery is neither settled nor handed out again since. The queue's lock is held.
func (d *Delivery) out() bool {
	if d.row == nil {
		return d.u.out.get(d.slot) != nil
	}
	return d.row.out && d.row.turn == d.turn
}

// settle is the state step of one delivery that is out:
//
//	              Retry, Hold                    due
//	stream ───────────────────────▶ row, later ───────▶ row, out ──▶ Done: gone   Retry, Hold: later   Bury: dead
//	       ── Done ──▶ marked   ── Bury ──▶ row, dead
func (u *queue) settle(d *Delivery, o Outcome, now time.Time) {
	w := d.row
	if w == nil {
		u.out.takeBack(d.slot)
		u.out.settle(u.out.get(d.slot))
	}
	if o.Kind == Retry || o.Kind == Hold {
		if w == nil {
			w = u.rowOf(d.Item, store.RowRetry, 0)
		}
		u.again(w, o, now)
		return
	}
	owed := w == nil || w.Owes
	if w != nil {
		u.rows.remove(w)
	}
	u.rows.passed(u.keyOf(d.Item))
	if o.Kind == Done {
		u.books.forget(w)
		u.done(d.Item, owed, now)
		return
	}
	if w == nil {
		w = u.rowOf(d.Item, store.RowDead, 0)
	}
	if !o.Untried {
		w.Attempts++
	}
	u.bury(w, o, now)
}

// done keeps the books of a delivery that its sink has.
func (u *queue) done(it *store.Item, owed bool, now time.Time) {
	n := int64(len(it.Body))
	u.books.dirty = true
	u.counts.Settled = u.counts.Settled.Add(store.Tally{Items: 1, Bytes: n})
	u.all.metrics.done(u, it, now)
	u.finish(it.Seq, n, owed)
}

// bury makes a row that is nowhere else a dead letter.
func (u *queue) bury(w *row, o Outcome, now time.Time) {
	owed := w.Owes
	w.note(o.Err, now)
	w.State, w.Owes, w.Permanent, w.Next = store.RowDead, false, o.Permanent, 0
	if age := u.sink.Dead.MaxAge; age > 0 {
		w.Next = u.all.clock.now() + age.Milliseconds()
	}
	sum := store.Tally{Items: 1, Bytes: w.Bytes}
	u.books.dirty = true
	u.books.dying[w.Seq] = w.Row
	u.countDead(sum)
	u.counts.Settled = u.counts.Settled.Add(sum)
	u.all.metrics.died(u, o)
	u.finish(w.Seq, w.Bytes, owed)
}

// again makes the delivery wait for its next attempt. A row that only waits for a probe, again, is not written.
func (u *queue) again(w *row, o Outcome, now time.Time) {
	w.dirty = w.dirty || o.Kind == Retry || o.After >= holdWorth
	u.books.dirty = u.books.dirty || w.dirty
	w.note(o.Err, now)
	if o.Kind == Retry {
		w.Attempts++
	}
	after := o.After
	if o.Kind == Hold && u.sink.Order != Strict && after <= time.Minute {
		after += after / 4 // others probe first: one item must not hold the sink for all
	}
	w.State, w.Next = store.RowRetry, u.all.clock.now()+after.Milliseconds()
	u.rows.put(w)
}

// finish tells the others of a delivery that is over: its place is free, and if the ack-join still waited for it, it need
// not any more.
func (u *queue) finish(seq uint64, bytes int64, owed bool) {
	u.all.room.change(u.number, store.Tally{Items: -1, Bytes: -bytes})
	if owed {
		u.all.join.settled(seq, u.number)
		if u.all.acks.hook != nil {
			u.books.acked = append(u.books.acked, seq)
		}
	}
	if u.all.unmarked.Add(1) >= int64(u.all.o.MarkEvery) {
		poke(u.all.kick)
	}
}

// forget notes that a row is over; nil is none.
func (b *books) forget(w *row) {
	if w != nil && w.stored {
		b.gone[w.Seq] = true
	}
}

// note records an attempt.
func (w *row) note(err string, now time.Time) {
	w.Last = now.UnixMilli()
	if w.First == 0 {
		w.First, w.FirstError = w.Last, err
	}
	w.LastError = err
}
