package queue

import (
	"container/heap"
	"time"

	"holdfast/store"
)

// rows are the deliveries of one queue that left the stream and are not dead: in memory those that wait for their time or
// are out, on disk also the ready ones that were not reached yet. A row is in one of three places: later, ordered by the
// time of its next attempt; soon, ordered by seq; or out. The queue's lock guards all of it.
type rows struct {
	all   map[uint64]*row
	later rowHeap
	soon  rowHeap
	out   int

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
}

// farthest bounds how far ahead a next attempt may be when it is loaded: a clock that was wrong when it was stored
// cannot park an item for years.
const farthest = 24 * time.Hour

// page is how many rows are read from disk at a time.
const page = 1000

// load reads the rows that wait for their time. Ready ones are fetched when their turn comes.
func (r *rows) load(q *Queues, number uint32) error {
	*r = rows{all: map[uint64]*row{}, later: rowHeap{less: sooner}, soon: rowHeap{less: older}, ready: true}
	latest := q.clock.now() + farthest.Milliseconds()
	for from := uint64(0); ; {
		found, err := q.st.Rows(number, from, page, store.RowRetry, store.RowNotDue, store.RowBlocked)
		if err != nil {
			return err
		}
		for _, s := range found {
			s.Next = min(s.Next, latest)
			r.put(&row{Row: s, stored: true})
			from = s.Seq + 1
		}
		if len(found) < page {
			return nil
		}
	}
}

// put adds a row, or puts back one that was out.
func (r *rows) put(w *row) {
	r.all[w.Seq] = w
	if w.out {
		w.out = false
		r.out--
	}
	if w.State == store.RowReady {
		heap.Push(&r.soon, w)
	} else {
		heap.Push(&r.later, w)
	}
}

// remove takes a row that is out away for good.
func (r *rows) remove(w *row) {
	delete(r.all, w.Seq)
	w.out = false
	r.out--
}

// promote moves the rows whose time has come to those that are handed out by seq.
func (r *rows) promote(now int64) {
	for len(r.later.rows) > 0 && r.later.rows[0].Next <= now {
		heap.Push(&r.soon, heap.Pop(&r.later))
	}
}

// fetch reads ready rows from disk if there may be some that come before those at hand.
// Those that are over and not durably so are left out.
func (r *rows) fetch(st *store.Store, number uint32, over func(seq uint64) bool) error {
	for r.ready && (len(r.soon.rows) == 0 || r.soon.rows[0].Seq >= r.from) {
		found, err := st.ReadyRows(number, r.from, page)
		if err != nil {
			return err
		}
		for _, s := range found {
			r.from = s.Seq + 1
			if r.all[s.Seq] == nil && !over(s.Seq) {
				r.put(&row{Row: s, stored: true})
			}
		}
		r.ready = len(found) == page
	}
	return nil
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
	w := heap.Pop(&r.soon).(*row)
	w.out = true
	w.turn++
	r.out++
	return w
}

// due is when the next row's time comes; false if none waits.
func (r *rows) due() (int64, bool) {
	if len(r.later.rows) == 0 {
		return 0, false
	}
	return r.later.rows[0].Next, true
}

// nextRetry is the row whose time comes next; nil if none waits.
func (r *rows) nextRetry() *row {
	if len(r.later.rows) == 0 {
		return nil
	}
	return r.later.rows[0]
}

// head is the oldest seq that waits for its time: with strict order, nothing behind it goes. There is seldom more than
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

// A rowHeap is a container/heap of rows.
type rowHeap struct {
	rows []*row
	less func(a, b *row) bool
}

func (h *rowHeap) Len() int           { return len(h.rows) }
func (h *rowHeap) Less(i, j int) bool { return h.less(h.rows[i], h.rows[j]) }
func (h *rowHeap) Swap(i, j int)      { h.rows[i], h.rows[j] = h.rows[j], h.rows[i] }
func (h *rowHeap) Push(x any)         { h.rows = append(h.rows, x.(*row)) }
func (h *rowHeap) Pop() any {
	last := len(h.rows) - 1
	w := h.rows[last]
	h.rows[last] = nil
	h.rows = h.rows[:last]
	return w
}
