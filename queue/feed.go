// Step 5 of an item's life: it is handed to each sink's lane, fresh from memory or old from the log.

package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"
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
// paused, or as much is out as may be. With order strict nothing comes while something is out that dst does not hold, and
// nothing that is behind a delivery that waits for its retry. It returns an error when ctx ends, when the store has failed,
// and when what is next is damaged and the store refuses damage; with one that heals, what is lost is settled as that.
// One goroutine at a time calls it.
func (f *Feed) Next(ctx context.Context, dst []Delivery, max int) ([]Delivery, error) {
	f.u.makeWay(ctx)
	for had := len(dst); ; {
		var wait time.Duration
		var err error
		dst, wait, err = f.u.hand(dst, max)
		if len(dst) > had {
			f.u.refused = time.Time{}
			f.u.handed += len(dst) - had
			return dst, nil
		}
		_, damaged := errors.AsType[*store.DamageError](err)
		if _, fatal := errors.AsType[*store.FatalError](err); fatal || damaged {
			return dst, fmt.Errorf("next of sink %s: %w", f.u.sink.Name, err)
		}
		if err != nil {
			f.u.cannotRead(err)
			wait = retryRead
			f.giveUp(err)
		}
		if err := f.u.await(ctx, wait); err != nil {
			return dst, err
		}
	}
}

// retryRead is how long a feed waits before it reads again what it could not: too many open files, say.
const retryRead = time.Second

// giveUp counts what the disk has refused to read for giveUpRead as damage: it is salvaged around.
func (f *Feed) giveUp(err error) {
	u := f.u
	if u.refused.IsZero() {
		u.refused = time.Now()
	}
	if !errors.Is(err, syscall.EIO) || time.Since(u.refused) < giveUpRead {
		return
	}
	u.refused = time.Time{}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all.st.Condemn(u.pos)
	if w := u.rows.next(); w != nil {
		u.all.st.Condemn(w.Seq)
	}
}

// giveUpRead is how long a read may fail before it counts as damage.
const giveUpRead = time.Minute

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
	if u.held.Load() {
		if u.sink.Dead.MaxAge == 0 {
			return dst, -1, nil
		}
		poke(u.all.dirty) // the marker looks for dead letters that are old enough
		return dst, look, nil
	}
	strict := u.sink.Order == Strict
	out := u.inFlight()
	if strict && out > len(dst) { // what is in dst goes with what comes, as one batch
		return dst, -1, nil
	}
	now, wall := u.all.clock.now(), time.Now().UnixMilli()
	u.aheadLeft = lookAhead
	for max = min(max, u.sink.Window-out); max > 0; max-- {
		ok := false
		if dst, ok, err = u.handOne(dst, strict, now, wall); err == nil {
			u.canRead()
		}
		if err != nil || !ok {
			break
		}
	}
	if u.books.dirty {
		poke(u.all.dirty) // something may have gone aside, or expired
	}
	if u.aheadLeft == 0 {
		return dst, 0, err
	}
	return dst, u.rows.due(now, wall), err
}

// lookAhead bounds how many items go aside or expire in one call, so that the queue's lock is never held for long.
const lookAhead = 1024

// handOne hands out the oldest delivery that may go: one that was returned, a row, or the next of the stream. Every row at
// hand is older than the next of the stream.
func (u *queue) handOne(dst []Delivery, strict bool, now, wall int64) (_ []Delivery, ok bool, err error) {
	for {
		it, err := u.peek() // also moves the cursor past what is not for this queue
		if err == nil {
			err = u.fetch()
		}
		if err != nil {
			return dst, false, err
		}
		u.rows.fallDue(wall, u.pos, u.sink.Order == Key)
		u.rows.retry(now)
		w, back := u.rows.next(), u.returned()
		switch {
		case w == nil && back == nil && it == nil || u.heldBack(strict, firstOf(w, back, it)):
			return dst, false, nil
		case back != nil && (w == nil || back.Seq < w.Seq):
			if !over(back, now) {
				return append(dst, u.handBack(back)), true, nil
			}
			u.takeReturned(back)
			u.drop(back.Seq, int64(len(back.Body)), true, store.GoneExpired)
		case w != nil:
			item, err := u.all.st.Item(u.number, w.Seq)
			lost := u.isLost(w, err)
			if err != nil && !lost {
				return dst, false, err
			}
			if !lost && !over(&item, now) {
				return append(dst, u.handRow(&item)), true, nil
			}
			u.rows.pull(w)
			u.books.forget(w)
			u.drop(w.Seq, w.Bytes, w.Owes, endOf(lost))
		case u.isFull():
			return dst, false, nil
		case !u.aside(it, now, wall):
			return append(dst, u.handItem(it)), true, nil
		}
		if u.aheadLeft--; u.aheadLeft == 0 {
			return dst, false, nil
		}
	}
}

// isLost reports whether a row's item can never be read. One that was never given, for all that the log knows, has no row but
// by damage that nobody saw: where damage is not refused, it must not hold up the sink for ever.
func (u *queue) isLost(w *row, err error) bool {
	if errors.Is(err, store.ErrNotFound) && u.all.st.Heals() {
		u.all.o.Log.Error("an item that is owed is not in the log: it counts as lost", "sink", u.sink.Name, "seq", w.Seq)
		return true
	}
	return errors.Is(err, store.ErrLost)
}

// endOf is why a row ends without a delivery.
func endOf(lost bool) store.Reason {
	if lost {
		return store.GoneLost
	}
	return store.GoneExpired
}

// firstOf is the lowest seq of those that there are.
func firstOf(w *row, back, it *store.Item) uint64 {
	seq := uint64(math.MaxUint64)
	if it != nil {
		seq = it.Seq
	}
	if back != nil {
		seq = min(seq, back.Seq)
	}
	if w != nil {
		seq = min(seq, w.Seq)
	}
	return seq
}

// over reports whether an item's time to live is.
func over(it *store.Item, now int64) bool { return it.Expires != 0 && it.Expires <= now }

// isFull reports whether as much is read ahead as may be. What was read ahead before the start, beyond where the stream is
// again, does not count: it has to be passed.
func (u *queue) isFull() bool {
	return len(u.rows.all)-len(u.rows.coming.rows) >= maxWaiting || len(u.out.slots) >= maxWaiting
}

// heldBack reports whether a delivery with a lower seq waits for its retry, in a strict queue.
func (u *queue) heldBack(strict bool, seq uint64) bool {
	if !strict {
		return false
	}
	head, waits := u.rows.head()
	return waits && head < seq
}

// fetch has the rows ready that may come before the next of the stream.
func (u *queue) fetch() error {
	return u.rows.fetch(u.all.st, u.number, u.pos, u.sink.Order == Key, u.hasEnded)
}

// returned is the oldest item of the stream that was given back; nil if there is none.
func (u *queue) returned() *store.Item {
	if len(u.out.back) == 0 {
		return nil
	}
	return u.out.get(u.out.back[0]).item
}

// takeReturned closes the slot of the item that returned returns, without handing it out.
func (u *queue) takeReturned(it *store.Item) {
	u.out.settle(u.out.get(u.out.back[0]))
	u.out.back = u.out.back[1:]
	u.rows.passed(u.keyOf(it))
}

func (u *queue) handBack(it *store.Item) Delivery {
	d := Delivery{ID: makeID(it.Time, it.Seq, u.all.tag), Item: it, u: u}
	d.slot, u.out.back = u.out.back[0], u.out.back[1:]
	return d
}

func (u *queue) handItem(it *store.Item) Delivery {
	d := Delivery{ID: makeID(it.Time, it.Seq, u.all.tag), Item: it, u: u}
	d.Item = u.take(it)
	d.slot = u.out.add(d.Item)
	if key := u.keyOf(it); key != 0 {
		u.rows.begin(key)
	}
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

// hasEnded reports whether a row that is still on disk is over.
func (u *queue) hasEnded(seq uint64) bool {
	_, dead := u.books.dying[seq]
	return dead || u.books.gone[seq]
}

// Paused reports whether the sink is paused.
func (f *Feed) Paused() bool { return f.u.sink.paused.Load() }
