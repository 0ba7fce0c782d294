package queue

import (
	"container/heap"
	"math"
	"time"

	"holdfast/store"
)

// rows are the deliveries of one queue that left the stream and are not dead: in memory those that wait for their time or
// are out, on disk also the ready ones that were not reached yet. A row is in one of six places: later, ordered by the
// time of its next attempt; early, ordered by the wall time before which it must not go; soon, ordered by seq; the line of
// its key, behind an older delivery of that key; coming, as long as something may still come that is before it; or out. The
// queue's lock guards all of it.
type rows struct {
	all    map[uint64]*row
	later  rowHeap
	early  rowHeap
	soon   rowHeap
	coming rowHeap             // by seq
	lines  map[uint64]*rowHeap // by hash of the key, with order key; there is one while a delivery of the key is under way
	aged   rowHeap             // by seq: all that are not out, whatever their place, for who makes room
	sent   rowHeap             // by seq: those that are out

	ready bool   // there may be ready rows on disk, at or above from, that are not in memory
	from  uint64 // where they begin
}

// A row is a delivery in memory that left the stream.
type row struct {
	store.Row
	out    bool
	turn   int  // how often it was handed out, so that an old delivery cannot settle a new one
	dirty  bool // not as stored
	stored bool // on disk in some form

	place *rowHeap // nil: out, or not in memory any more
	at    [2]int   // index in place, and in aged or sent
}

// makeRows returns rows without any.
func makeRows() rows {
	return rows{all: map[uint64]*row{}, later: rowHeap{less: sooner}, early: rowHeap{less: sooner}, soon: rowHeap{less: older},
		coming: rowHeap{less: older}, lines: map[uint64]*rowHeap{}, aged: rowHeap{less: older, slot: 1}, sent: rowHeap{less: older, slot: 1}}
}

// farthest bounds how far ahead a next attempt may be when it is loaded: a clock that was wrong when it was stored
// cannot park an item for years.
const farthest = 24 * time.Hour

// page is how many rows are read from disk at a time.
const page = 1000

// load reads the rows that wait for their time. Ready ones are fetched when their turn comes.
func (r *rows) load(q *Queues, number uint32, pos uint64, byKey bool) error {
	*r = makeRows()
	r.ready = true
	latest, wall := q.clock.now()+farthest.Milliseconds(), time.Now().UnixMilli()
	for from := uint64(0); ; {
		found, err := q.st.Rows(number, from, page, store.RowRetry, store.RowNotDue, store.RowBlocked)
		if err != nil {
			return err
		}
		for _, s := range found {
			switch {
			case s.State == store.RowRetry:
				s.Next = min(s.Next, latest)
			case s.State == store.RowNotDue && s.Next <= wall:
				s.State = store.RowReady // it may have been under way
			}
			r.arrive(&row{Row: s, stored: true}, pos, byKey)
			from = s.Seq + 1
		}
		if len(found) < page {
			return nil
		}
	}
}

// put adds a row, or puts back one that was out, where its state says. One that was behind its key is not any more.
func (r *rows) put(w *row) {
	r.all[w.Seq] = w
	r.back(w)
	switch w.State {
	case store.RowRetry:
		r.place(w, &r.later)
	case store.RowNotDue:
		r.place(w, &r.early)
	default:
		r.place(w, &r.soon)
	}
}

// back ends that a row is out, if it is.
func (r *rows) back(w *row) {
	if w.out {
		w.out = false
		heap.Remove(&r.sent, w.at[1])
	}
}

// place puts a row that is out, new, or was just popped into a place.
func (r *rows) place(w *row, h *rowHeap) {
	if w.place == nil {
		heap.Push(&r.aged, w)
	}
	w.place = h
	heap.Push(h, w)
}

// leave takes a row out of its place.
func (r *rows) leave(w *row) {
	heap.Remove(w.place, w.at[0])
	heap.Remove(&r.aged, w.at[1])
	w.place = nil
}

// enter adds a row that is new to memory, or whose time has come: with order key it goes behind its key's, if one is under
// way, and else is under way itself. What is not due yet holds no key.
func (r *rows) enter(w *row, byKey bool) {
	r.all[w.Seq] = w
	if byKey && w.KeyHash != 0 && w.State != store.RowNotDue {
		if line := r.lines[w.KeyHash]; line != nil {
			r.place(w, line)
			return
		}
		r.begin(w.KeyHash)
	}
	r.put(w)
}

// arrive is enter for a row that may be ahead of others: where something before it may still come, from the stream or from
// disk, it waits for that. Otherwise a later delivery of a key would take its place, or a row that of an older item.
func (r *rows) arrive(w *row, pos uint64, byKey bool) {
	if w.Seq < pos && (!byKey || w.KeyHash == 0 || w.State == store.RowNotDue) {
		r.enter(w, byKey)
		return
	}
	r.all[w.Seq] = w
	r.place(w, &r.coming)
}

// reach has those enter that nothing can come before any more: the stream has come to pos, and the ready ones on disk
// were read up to from.
func (r *rows) reach(pos uint64, byKey bool) {
	if r.ready {
		pos = min(pos, r.from)
	}
	for len(r.coming.rows) > 0 && r.coming.rows[0].Seq < pos {
		r.enter(heap.Pop(&r.coming).(*row), byKey)
	}
}

// begin says that a delivery of the key is under way; busy, whether one is.
func (r *rows) begin(key uint64) { r.lines[key] = &rowHeap{less: older} }

func (r *rows) busy(key uint64) bool { return r.lines[key] != nil }

// passed says that the delivery of the key that was under way is over: the next in line is.
func (r *rows) passed(key uint64) {
	line := r.lines[key]
	switch {
	case line == nil:
	case len(line.rows) == 0:
		delete(r.lines, key)
	default:
		r.put(heap.Pop(line).(*row))
	}
}

// remove takes a row that is out away for good.
func (r *rows) remove(w *row) {
	delete(r.all, w.Seq)
	r.back(w)
}

// retry moves the rows whose next attempt has come to those that are handed out by seq.
func (r *rows) retry(now int64) {
	for len(r.later.rows) > 0 && r.later.rows[0].Next <= now {
		r.place(heap.Pop(&r.later).(*row), &r.soon)
	}
}

// fallDue has the rows arrive that were not due, by wall time, and are now.
func (r *rows) fallDue(wall int64, pos uint64, byKey bool) {
	for len(r.early.rows) > 0 && r.early.rows[0].Next <= wall {
		w := heap.Pop(&r.early).(*row)
		w.State = store.RowReady
		r.arrive(w, pos, byKey)
	}
	r.reach(pos, byKey)
}

// fetch reads ready rows from disk if there may be some that come before those at hand.
// Those that are over and not durably so are left out.
func (r *rows) fetch(st *store.Store, number uint32, pos uint64, byKey bool, over func(seq uint64) bool) error {
	r.reach(pos, byKey)
	for r.ready && r.lowest() >= r.from {
		most := page
		if len(r.all) >= maxWaiting {
			most = 1 // to know whether there is any
		}
		found, err := st.ReadyRows(number, r.from, most)
		if err != nil {
			return err
		}
		if len(r.all) >= maxWaiting && len(found) > 0 {
			return nil // they wait on disk: a key with many behind it must not fill the memory
		}
		for _, s := range found {
			r.from = s.Seq + 1
			if r.all[s.Seq] == nil && !over(s.Seq) {
				r.arrive(&row{Row: s, stored: true}, pos, byKey)
			}
		}
		r.ready = len(found) == most
		r.reach(pos, byKey)
	}
	return nil
}

// lowest is the lowest seq at hand.
func (r *rows) lowest() uint64 {
	seq := uint64(math.MaxUint64)
	if len(r.soon.rows) > 0 {
		seq = r.soon.rows[0].Seq
	}
	if len(r.coming.rows) > 0 {
		seq = min(seq, r.coming.rows[0].Seq)
	}
	return seq
}

// requeued says that there are ready rows on disk from seq on.
func (r *rows) requeued(seq uint64) {
	if !r.ready || seq < r.from {
		r.from = seq
	}
	r.ready = true
}

// next returns the oldest row that may be handed out now; nil if there is none.
func (r *rows) next() *row {
	if len(r.soon.rows) == 0 {
		return nil
	}
	return r.soon.rows[0]
}

// hand takes the row that next returned out.
func (r *rows) hand() *row {
	w := r.soon.rows[0]
	r.leave(w)
	w.out = true
	w.turn++
	heap.Push(&r.sent, w)
	return w
}

// look is how often a not-before is compared with the wall clock at least, so that a step of it is seen.
const look = 30 * time.Second

// due is how long until the next row's time comes; negative if none waits.
func (r *rows) due(now, wall int64) time.Duration {
	wait := time.Duration(-1)
	if len(r.later.rows) > 0 {
		wait = time.Duration(r.later.rows[0].Next-now) * time.Millisecond
	}
	if len(r.early.rows) > 0 {
		if early := min(look, time.Duration(r.early.rows[0].Next-wall)*time.Millisecond); wait < 0 || early < wait {
			wait = early
		}
	}
	return wait
}

// nextRetry is the row whose time comes next; nil if none waits.
func (r *rows) nextRetry() *row {
	if len(r.later.rows) == 0 {
		return nil
	}
	return r.later.rows[0]
}

// head is the oldest seq that waits for its retry: with strict order, nothing behind it goes. There is seldom more than
// one.
func (r *rows) head() (seq uint64, waits bool) {
	for i, w := range r.later.rows {
		if i == 0 || w.Seq < seq {
			seq = w.Seq
		}
	}
	return seq, len(r.later.rows) > 0
}

func sooner(a, b *row) bool { return a.Next < b.Next || a.Next == b.Next && a.Seq < b.Seq }
func older(a, b *row) bool  { return a.Seq < b.Seq }

// A rowHeap is a container/heap of rows, which know where in it they are.
type rowHeap struct {
	rows []*row
	less func(a, b *row) bool
	slot int // of row.at
}

func (h *rowHeap) Len() int           { return len(h.rows) }
func (h *rowHeap) Less(i, j int) bool { return h.less(h.rows[i], h.rows[j]) }
func (h *rowHeap) Swap(i, j int) {
	h.rows[i], h.rows[j] = h.rows[j], h.rows[i]
	h.rows[i].at[h.slot], h.rows[j].at[h.slot] = i, j
}
func (h *rowHeap) Push(x any) {
	w := x.(*row)
	w.at[h.slot] = len(h.rows)
	h.rows = append(h.rows, w)
}
func (h *rowHeap) Pop() any {
	last := len(h.rows) - 1
	w := h.rows[last]
	h.rows[last] = nil
	h.rows = h.rows[:last]
	return w
}
