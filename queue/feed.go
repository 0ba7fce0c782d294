// Step 5 of an item's life: it is handed to each sink's lane, fresh from memory or old from the log.

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"holdfast/store"
)

// A Feed is a lane's end of the queue that it empties.
type Feed struct{ u *queue }

// A Delivery is one item for one sink, handed out: it is to be settled or returned exactly once. The item is shared
// with other sinks, and not to be changed.
type Delivery struct {
	ID       uuid.UUID
	Item     *store.Item
	Attempts int       // spent before this one, also before a restart
	First    time.Time // when the first attempt ended; zero: there was none

	u    *queue
	slot uint64 // in the outbox, if row is nil
	row  *row
	turn int
}

// Feed returns the end of the queues of a sink. There is one lane to a sink.
func (q *Queues) Feed(sink string) (*Feed, error) {
	s, err := q.sinkNamed(sink)
	if err != nil {
		return nil, err
	}
	return &Feed{s.queue}, nil
}

// Next appends between one and max deliveries to dst, and waits while there is none: nothing is due, the sink is
// paused, or as much is out as may be. With order strict nothing comes while something is out, and nothing that is
// behind a delivery that waits for its retry. It returns an error when ctx ends, or when what is next is damaged.
// One goroutine at a time calls it.
func (f *Feed) Next(ctx context.Context, dst []Delivery, max int) ([]Delivery, error) {
	for had := len(dst); ; {
		var wait time.Duration
		var err error
		dst, wait, err = f.u.hand(dst, max)
		if len(dst) > had {
			return dst, nil
		}
		if _, damaged := errors.AsType[*store.DamageError](err); damaged {
			return dst, fmt.Errorf("next of sink %s: %w", f.u.sink.Name, err)
		}
		if err != nil {
			f.u.all.o.Log.Warn("the log cannot be read, it will be tried again", "sink", f.u.sink.Name, "err", err)
			wait = retryRead
		}
		if err := f.u.await(ctx, wait); err != nil {
			return dst, err
		}
	}
}

// retryRead is how long a feed waits before it reads again what it could not: too many open files, say.
const retryRead = time.Second

// await returns when there may be news, or when wait is over; a negative wait has no end.
func (u *queue) await(ctx context.Context, wait time.Duration) error {
	var due <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-u.wake:
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// hand appends what may be handed out now. If that is nothing, wait is how long until a row is due.
func (u *queue) hand(dst []Delivery, max int) (_ []Delivery, wait time.Duration, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sink.paused.Load() || u.all.stuck.Load() {
		return dst, -1, nil
	}
	strict := u.sink.Order == Strict
	out := u.out.open - len(u.out.back) + u.rows.out
	if strict && out > 0 {
		return dst, -1, nil
	}
	now := u.all.clock.now()
	u.rows.promote(now)
	for max = min(max, u.sink.Window-out); max > 0; max-- {
		ok := false
		if dst, ok, err = u.handOne(dst, strict); err != nil || !ok {
			break
		}
	}
	if due, ok := u.rows.due(); ok {
		return dst, time.Duration(due-now) * time.Millisecond, err
	}
	return dst, -1, err
}

// handOne hands out the oldest delivery that may go: one that was returned, a row, or the next of the stream.
func (u *queue) handOne(dst []Delivery, strict bool) (_ []Delivery, ok bool, err error) {
	if err := u.rows.fetch(u.all.st, u.number, u.over); err != nil {
		return dst, false, err
	}
	it, err := u.ahead()
	if err != nil {
		return dst, false, err
	}
	w := u.rows.next()
	switch {
	case w == nil && it == nil:
		return dst, false, nil
	case w == nil || it != nil && it.Seq < w.Seq:
		if u.heldBack(strict, it.Seq) {
			return dst, false, nil
		}
		return append(dst, u.handItem(it)), true, nil
	case u.heldBack(strict, w.Seq):
		return dst, false, nil
	}
	stored, err := u.all.st.Item(u.number, w.Seq)
	if err != nil {
		return dst, false, err
	}
	return append(dst, u.handRow(&stored)), true, nil
}

// heldBack reports whether a delivery with a lower seq waits for its retry, in a strict queue.
func (u *queue) heldBack(strict bool, seq uint64) bool {
	if !strict {
		return false
	}
	head, waits := u.rows.head()
	return waits && head < seq
}

// ahead is the next item that has not left the stream: one that was given back, else what peek finds, unless as much is
// read ahead as may be.
func (u *queue) ahead() (*store.Item, error) {
	it, err := u.peek() // also moves the cursor past what is not for this queue
	if len(u.out.back) > 0 {
		return u.out.get(u.out.back[0]).item, err
	}
	if len(u.rows.all) >= maxWaiting || len(u.out.slots) >= maxWaiting {
		return nil, err
	}
	return it, err
}

func (u *queue) handItem(it *store.Item) Delivery {
	d := Delivery{ID: makeID(it.Time, it.Seq, u.all.tag), Item: it, u: u}
	if len(u.out.back) > 0 {
		d.slot, u.out.back = u.out.back[0], u.out.back[1:]
		return d
	}
	d.Item = u.take(it)
	d.slot = u.out.add(d.Item)
	return d
}

func (u *queue) handRow(it *store.Item) Delivery {
	w := u.rows.hand()
	d := Delivery{ID: makeID(it.Time, it.Seq, u.all.tag), Item: it, Attempts: int(w.Attempts), u: u, row: w, turn: w.turn}
	if w.First != 0 {
		d.First = time.UnixMilli(w.First)
	}
	return d
}

// over reports whether a row that is still on disk has ended.
func (u *queue) over(seq uint64) bool {
	_, dead := u.books.dying[seq]
	return dead || u.books.gone[seq]
}

// Paused reports whether the sink is paused.
func (f *Feed) Paused() bool { return f.u.sink.paused.Load() }
