package queue

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"holdfast/store"
)

// How long the keeper sleeps at most: after a failure, and else, so that old idempotency keys go from an idle store too.
const keepRetry, keepEvery = 5 * time.Second, time.Hour

// keepLoop makes the next segment before it is needed and seals the last, off the path of accepts and marks. Neither may
// fail fatally: without a spare the append makes its own, and an unsealed segment is scanned at the next start.
func (q *Queues) keepLoop(ctx context.Context) {
	var last string
	idle := idler{since: time.Now()}
	for {
		sleep := keepEvery
		if err := errors.Join(q.st.Prepare(), q.st.Seal(), q.st.HealKeys(), q.st.DropKeys(q.dedupe.since(), q.o.DedupeKeys)); err != nil {
			sleep = keepRetry
			if err.Error() != last {
				last = err.Error()
				q.o.Log.Warn("housekeeping of the log will be tried again", "err", err)
			}
		}
		poke(q.dirty) // a sealed segment may be free: items that no sink wants are settled by nobody
		t := time.NewTimer(sleep)
		select {
		case <-q.keep:
		case <-t.C:
			if sleep == keepEvery && idle.due(q.st.Next(), time.Now()) {
				poke(q.rotate)
			}
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// An idler says when the active segment is to end before it is full, so that it can go when it is finished: when an hour
// brought nothing after some that brought something, and once a day.
type idler struct {
	next, rotated uint64 // the log's next seq when it last looked, and when it last said so
	since         time.Time
}

func (i *idler) due(next uint64, now time.Time) bool {
	quiet, old := next == i.next, now.Sub(i.since) >= 24*time.Hour
	if i.next = next; next == i.rotated || !quiet && !old {
		return false
	}
	i.rotated, i.since = next, now
	return true
}

// A keeper is what the marker remembers of the segments from one mark commit to the next.
type keeper struct {
	freed []uint64        // nothing is owed in these since the newest commit
	owed  map[uint64]debt // what a segment owed when it was last emptied: it is again when that has changed
}

// A debt is what a segment owes: deliveries, and how many of them are rows; with how often any were given back.
type debt struct {
	items, returns int64
	rows           int
}

// tidy lets segments go that nothing was owed in after the commit before the newest one: should the disk lose the newest
// commit, that one still finds what it owes. Before that it moves what keeps nearly finished segments out of them. It
// follows a mark commit.
func (q *Queues) tidy() error {
	if err := errors.Join(q.evacuate(), q.trimDead(), q.compact()); err != nil {
		if _, fatal := errors.AsType[*store.FatalError](err); fatal {
			return err
		}
		q.o.Log.Warn("housekeeping of the queues will be tried again", "err", err)
	}
	var free []store.Segment
	for _, seg := range q.st.Segments() {
		if seg.Free() && !q.acks.pins(seg.First, seg.End) {
			free = append(free, seg)
		}
	}
	free = free[:len(free)-q.retained(free)]
	var ripe, items, lossy = []uint64(nil), int64(0), false
	before := q.kept.freed
	q.kept.freed = nil
	for _, seg := range free {
		if slices.Contains(before, seg.Serial) {
			ripe, items = append(ripe, seg.Serial), items+int64(seg.End-seg.First)
			lossy = lossy || q.st.LostIn(seg.First, seg.End)
		} else {
			q.kept.freed = append(q.kept.freed, seg.Serial)
		}
	}
	if len(q.kept.freed) > 0 {
		poke(q.dirty)
	}
	if len(ripe) == 0 {
		return nil
	}
	if lossy {
		q.forgetLost()
	}
	if _, err := q.st.Release(ripe); err != nil {
		q.o.Log.Warn("finished segments stay for now", "err", err)
		return nil
	}
	for _, serial := range ripe {
		delete(q.kept.owed, serial)
	}
	q.metrics.released.Add(float64(items))
	return nil
}

// retained is how many of the newest free segments stay to be replayed. They yield, oldest first, when room is needed.
func (q *Queues) retained(free []store.Segment) (n int) {
	r, bytes := q.o.Retain, int64(0)
	if r == (Retain{}) {
		return 0
	}
	now, spare := time.Now().UnixMilli(), q.room.spare()
	for i := len(free) - 1; i >= 0; i-- {
		bytes += free[i].Bytes
		if r.Age > 0 && now-free[i].Newest > r.Age.Milliseconds() || r.Bytes > 0 && bytes > r.Bytes || spare < 0 && bytes > -spare {
			break
		}
		n++
	}
	return n
}

// What a delivery costs when it is evacuated beside its body, and how many are in one go: acks wait for the marker.
const evacuatedRow, evacuatedAtOnce = 256, 256

// evacuate copies what a nearly finished segment still owes into bodies, as ready rows: neither a stuck item, nor a dead
// sink that is owed one item a minute, nor scattered dead letters pin the disk. Nearly finished is less than a sixteenth of
// it, and less than half when room is needed. It goes on with the next mark commit where it stops.
func (q *Queues) evacuate() error {
	share := int64(16)
	if q.room.spare() < 0 {
		share = 2
	}
	for _, seg := range q.st.Segments() {
		if !seg.Sealed || !seg.Owed || (seg.Owes.Bytes+seg.Owes.Items*evacuatedRow)*share > seg.Bytes {
			continue
		}
		now := debt{seg.Owes.Items, q.returns.Load(), seg.Rows}
		if q.kept.owed[seg.Serial] == now {
			continue
		}
		q.kept.owed[seg.Serial] = now
		poke(q.dirty)
		return q.empty(seg.Serial)
	}
	return nil
}

// empty evacuates some of a segment. A delivery that is out stays: it is soon settled.
func (q *Queues) empty(serial uint64) error {
	var change store.Change
	moved := map[*queue][]*row{}
	for it, err := range q.st.Owed(serial) {
		if err != nil {
			return err
		}
		goes := len(it.Rows) > 0
		for _, n := range it.Stream {
			if s := q.owners[n]; s != nil {
				if w := s.queue.leave(&it.Item); w != nil {
					moved[s.queue], goes = append(moved[s.queue], w), true
				}
			}
		}
		if !goes {
			continue
		}
		change.Bodies = append(change.Bodies, store.Body{Item: it.Item})
		if len(change.Bodies) == evacuatedAtOnce {
			break
		}
	}
	err := q.commitWith(change, slices.Collect(maps.Keys(moved)), nil)
	for u, rows := range moved {
		u.unload(rows, err == nil)
	}
	if errors.Is(err, store.ErrFull) {
		return nil
	}
	return err
}

// leave takes an item that is not out out of the stream, as a row; nil if it is, or is settled.
func (u *queue) leave(it *store.Item) *row {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.marked[it.Seq]:
		return nil
	case it.Seq >= u.pos:
		u.marked[it.Seq] = true
	case u.returned() != nil && u.returned().Seq == it.Seq:
		u.takeReturned(u.returned())
	default:
		return nil
	}
	state := store.RowReady
	if it.NotBefore > time.Now().UnixMilli() {
		state = store.RowNotDue
	}
	w := u.rowOf(it, state, it.NotBefore)
	u.books.dirty = true
	u.rows.arrive(w, u.pos, u.sink.Order == Key)
	return w
}

// unload forgets ready rows that are durable and not reached yet: they are fetched from disk when their turn comes.
func (u *queue) unload(rows []*row, durable bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range rows {
		if durable && !w.out && w.State == store.RowReady && u.rows.all[w.Seq] == w {
			u.rows.pull(w)
			u.rows.requeued(w.Seq)
		}
	}
	poke(u.wake)
}

// compact copies queues.db when most of it is free pages: a commit with 64 MiB of them writes 184 KiB instead of 28.
func (q *Queues) compact() error {
	if free, size := q.st.Slack(); free <= slackBytes || 2*free <= size {
		return nil
	}
	if err := q.st.Compact(); !errors.Is(err, store.ErrFull) {
		return err
	}
	return nil
}

const slackBytes = 4 << 20
