package queue

import (
	"time"

	"holdfast/store"
)

// A fate is what becomes of the next item of the stream before anybody is sent it.
type fate int

const (
	goes    fate = iota // to the lane
	early               // aside until its not-before
	behind              // aside, behind an older delivery of its key
	expired             // nowhere: its time to live is over
)

// fateOf decides. now is queue time and wall the wall clock, in ms; busy says whether a delivery of its key is under way.
func fateOf(it *store.Item, now, wall int64, busy bool) fate {
	switch {
	case over(it, now):
		return expired
	case it.NotBefore > wall:
		return early
	case busy:
		return behind
	}
	return goes
}

// aside takes the next item out of the stream without handing it out, and reports whether it did.
func (u *queue) aside(it *store.Item, now, wall int64) bool {
	key := u.keyOf(it)
	switch fateOf(it, now, wall, key != 0 && u.rows.busy(key)) {
	case goes:
		return false
	case expired:
		u.pass(it)
		u.drop(it.Seq, int64(len(it.Body)), true, store.GoneExpired)
	case early:
		u.pass(it)
		u.rows.put(u.rowOf(it, store.RowNotDue, it.NotBefore))
	case behind:
		u.pass(it)
		u.rows.enter(u.rowOf(it, store.RowBlocked, 0), true)
	}
	u.books.dirty = true
	if u.books.aside++; u.books.aside == asideAtOnce {
		poke(u.all.kick)
	}
	return true
}

// asideAtOnce is how many rows are written at once: ten times as many in one commit take a hundred times as long.
const asideAtOnce = 4096

// keyOf is the hash of the key by which an item is ordered; 0 if it is not.
func (u *queue) keyOf(it *store.Item) uint64 {
	if u.sink.Order != Key {
		return 0
	}
	return store.KeyHash(it.Key)
}

// pass moves the stream past its next item, which is settled there.
func (u *queue) pass(it *store.Item) {
	u.out.settle(u.out.get(u.out.add(it)))
	u.take(it)
}

func (u *queue) rowOf(it *store.Item, state store.RowState, next int64) *row {
	return &row{Row: store.Row{Seq: it.Seq, State: state, Owes: true, Bytes: int64(len(it.Body)), Next: next, KeyHash: store.KeyHash(it.Key)}, dirty: true}
}

// drop settles a delivery without one. What it was is durable with the next mark commit, and known until its segment goes.
func (u *queue) drop(seq uint64, bytes int64, owed bool, why store.Reason) {
	u.books.dirty = true
	u.books.ended[seq] = why
	u.counts.Settled = u.counts.Settled.Add(store.Tally{Items: 1, Bytes: bytes})
	u.all.metrics.ended(u, why)
	u.finish(seq, bytes, owed)
}

// evict ends the oldest delivery that is not out, to make room for a new one: it drops it, or makes a dead letter of it. It
// reports whether there was one. While the sink is held there is none that may become a dead letter.
func (u *queue) evict(how OnFull) (bool, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if how == BuryOldest && u.held.Load() {
		return false, nil
	}
	it, err := u.peek()
	if err == nil {
		err = u.fetch()
	}
	if err != nil {
		return false, err
	}
	back := u.returned()
	if back != nil {
		it = back
	}
	w := u.rows.oldest()
	switch {
	case w == nil && it == nil:
		return false, nil
	case w == nil || it != nil && it.Seq < w.Seq:
		w = u.rowOf(it, 0, 0)
		if back != nil {
			u.takeReturned(it)
		} else {
			u.pass(it)
		}
	default:
		u.rows.pull(w)
	}
	if how == BuryOldest {
		u.bury(w, Outcome{Kind: Bury, Err: evicted}, time.Now())
	} else {
		u.books.forget(w)
		u.drop(w.Seq, w.Bytes, w.Owes, store.GoneDropped)
	}
	poke(u.wake)
	poke(u.all.dirty)
	return true, nil
}

// evicted is what a dead letter says that was made for want of room.
const evicted = "delivery failed: the sink is full"

// oldest is the row with the lowest seq that is not out; nil if there is none. Rows are ordered for that beside their
// place: with 90,000 of them, to look at each for the oldest made a put of 1,000 take 15 s at a bound that evicts; it takes
// 33 ms now (BenchmarkEvict).
func (r *rows) oldest() *row {
	if len(r.aged.rows) == 0 {
		return nil
	}
	return r.aged.rows[0]
}

// pull takes a row that is not out away for good.
func (r *rows) pull(w *row) {
	delete(r.all, w.Seq)
	from := w.place
	r.leave(w)
	if from == &r.soon || from == &r.later {
		r.passed(w.KeyHash)
	}
}
