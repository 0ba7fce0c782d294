package queue

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/store"
)

// A queue is what is owed to one sink: the stream of the log from the cursor on, and the rows that left it.
//
//	     cursor          pos                     published
//	───────┼───────────────┼─────────────────────────┼──────▶ seqs
//	settled│ handed out:   │ not looked at yet       │ not there yet
//	       │ settled or not│                         │
//
// What is below the cursor is settled, has a row, or was never for this queue. The cursor is derived: it is the oldest
// delivery that is out, or pos. Everything but the fields above mu is guarded by it.
type queue struct {
	number  uint32
	sink    *sink
	all     *Queues
	wake    chan struct{} // to the feed: something may have changed
	metered *sinkCounts   // the sink's metrics
	held    atomic.Bool   // by full dead letters; written under mu
	behind  atomic.Bool   // the block that was looked up last came from the log; written under mu
	handed  int           // deliveries since makeWay looked; of the goroutine that calls Next, like wayAt
	wayAt   uint64        // what was published then

	mu        sync.Mutex
	reader    *store.Reader
	readAt    uint64       // where the reader stands
	block     *store.Block // the one that holds pos; nil: not looked up
	at        int          // index in block of the next item to look at
	pos       uint64       // seq of the next item to look at
	mine      *store.Mask  // the last mask that was looked at
	isMine    bool         // whether it has this queue
	own       int          // items taken from block
	sparse    bool         // less than a quarter of the block before it was for this queue
	out       outbox
	aheadLeft int             // how many more items may go aside or expire in the call that runs
	marked    map[uint64]bool // settled before the start, at or above the cursor as last collected
	rows      rows
	counts    store.Counts
	books     books

	unread     unread
	refused    time.Time // since when giveUp has patience; zero: it was not asked. Of the goroutine that calls Next
	oldestSeq  uint64    // whose time is oldestTime, so that looking at it twice reads once
	oldestTime time.Time
}

// books are what the next mark commit must write.
type books struct {
	dirty  bool
	aside  int                     // rows that were made of the stream since the last commit began
	cursor uint64                  // as stored
	dying  map[uint64]store.Row    // dead letters that are not durable yet
	ended  map[uint64]store.Reason // settled without delivery, and not durably yet
	gone   map[uint64]bool         // rows whose end is not durable yet
	acked  []uint64                // owed no longer, since the last commit began; only with Options.OnAck
	acking []uint64                // likewise, before: the commit that is made has them
}

// maxWaiting bounds the rows in memory, and the deliveries between the cursor and pos: beyond it nothing is read ahead.
const maxWaiting = 100_000

func loadQueue(q *Queues, s *sink, number uint32) (*queue, error) {
	state, err := q.st.LoadQueue(number)
	if err != nil {
		return nil, err
	}
	u := &queue{
		number: number,
		sink:   s,
		all:    q,
		wake:   make(chan struct{}, 1),
		reader: q.st.Reader(number, state.Cursor),
		readAt: state.Cursor,
		pos:    state.Cursor,
		marked: map[uint64]bool{},
		counts: state.Counts,
		books:  books{cursor: state.Cursor, dying: map[uint64]store.Row{}, ended: map[uint64]store.Reason{}, gone: map[uint64]bool{}},
	}
	for _, seq := range state.Marks {
		u.marked[seq] = true
	}
	if err := u.rows.load(q, number, state.Cursor, s.Order == Key); err != nil {
		return nil, err
	}
	u.countDead(store.Tally{})
	q.room.bound(u)
	return u, nil
}

// waiting is what is owed: accepted, less settled, plus requeued. It is right from the start, without a walk.
func (u *queue) waiting() store.Tally {
	return u.all.st.Accepted(u.number).Add(u.counts.Requeued).Sub(u.counts.Settled)
}

// Waiting returns how many items are owed to the sink.
func (f *Feed) Waiting() int64 {
	f.u.mu.Lock()
	defer f.u.mu.Unlock()
	return f.u.waiting().Items
}

// inFlight is how many deliveries the lane has.
func (u *queue) inFlight() int { return u.out.open - len(u.out.back) + len(u.rows.sent.rows) }

// cursor is the seq below which nothing of the stream is owed.
func (u *queue) cursor() uint64 {
	if seq, ok := u.out.oldest(); ok {
		return seq
	}
	return u.pos
}

// peek returns the next item of the stream that is this queue's and not settled, and moves pos up to it; nil when there
// is none yet.
func (u *queue) peek() (*store.Item, error) {
	for {
		if u.block == nil {
			if ok, err := u.look(); !ok {
				return nil, err
			}
		}
		for ; u.at < len(u.block.Items); u.at++ {
			it := &u.block.Items[u.at]
			if it.Seq >= u.pos && u.owns(it.Mask) && !u.marked[it.Seq] {
				u.pos = it.Seq
				if it.Lost == nil {
					return it, nil
				}
				u.lose(it)
			}
		}
		u.pos = max(u.pos, u.block.First+uint64(len(u.block.Items)))
		u.sparse = 4*u.own < len(u.block.Items)
		u.block, u.own = nil, 0
	}
}

// lose settles the next item of the stream, of which no more than its place is left: whether the sink is paused or not,
// there is nothing to wait for.
func (u *queue) lose(it *store.Item) {
	u.out.settle(u.out.get(u.out.add(it)))
	u.pos++
	u.drop(it.Seq, it.Lost.Bytes, true, store.GoneLost)
	poke(u.all.dirty)
}

// take consumes the item that peek returned, and returns what may be handed out of it. An item keeps its block's whole
// buffer in memory; where the last block had little for this queue, it is copied out of that.
func (u *queue) take(it *store.Item) *store.Item {
	u.pos++
	u.at++
	u.own++
	if !u.sparse {
		return it
	}
	own := *it
	own.Body, own.Key, own.Attrs = bytes.Clone(it.Body), strings.Clone(it.Key), store.Attrs(strings.Clone(string(it.Attrs)))
	return &own
}

// look finds the block that holds pos, or the first after it: among the fresh ones, else in the log.
func (u *queue) look() (bool, error) {
	published := u.all.fresh.end()
	if u.pos >= published {
		return false, nil
	}
	u.block = u.all.fresh.block(u.pos)
	u.behind.Store(u.block == nil)
	if u.block == nil {
		b, err := u.read()
		if errors.Is(err, io.EOF) || err == nil && b.First >= published {
			u.pos, err = published, nil
			return false, err
		}
		if err != nil {
			return false, err
		}
		u.block = b
	}
	u.at = int(max(u.pos, u.block.First) - u.block.First)
	return true, nil
}

// read returns the next block of the log that has something for this queue at or above pos.
func (u *queue) read() (*store.Block, error) {
	if u.readAt != u.pos {
		u.reader.Seek(u.pos)
	}
	b, err := u.reader.Next()
	if err == nil {
		u.readAt = b.First + uint64(len(b.Items))
	}
	return b, err
}

func (u *queue) owns(m *store.Mask) bool {
	if m != u.mine {
		u.mine, u.isMine = m, m.Has(u.number)
	}
	return u.isMine
}

// An outbox is the deliveries of the stream that are out, in order. A slot is a delivery's place, counted from the start
// of the process.
type outbox struct {
	room  []slot // of which slots is a part
	slots []slot
	first uint64 // of slots[0]
	open  int    // those not settled
	back  []uint64
}

type slot struct {
	seq  uint64
	item *store.Item // nil: settled
}

// add puts an item out and returns its slot.
func (o *outbox) add(it *store.Item) uint64 {
	if len(o.slots) == cap(o.slots) {
		o.makeRoom()
	}
	o.slots = append(o.slots, slot{it.Seq, it})
	o.open++
	return o.first + uint64(len(o.slots)-1)
}

// makeRoom moves what is out to the front of the room, or to another one where that is half full, or far too large.
func (o *outbox) makeRoom() {
	was := o.slots
	if n := len(was); 2*n >= len(o.room) || len(o.room) > 4096 && 64*n < len(o.room) {
		o.room = make([]slot, max(64, 4*n))
	}
	o.slots = o.room[:copy(o.room, was)]
	clear(o.room[len(was):])
}

// get returns an open slot; nil if it is settled.
func (o *outbox) get(n uint64) *slot {
	if n < o.first || o.slots[n-o.first].item == nil {
		return nil
	}
	return &o.slots[n-o.first]
}

// settle closes an open slot and lets the settled ones at the front go.
func (o *outbox) settle(s *slot) {
	s.item = nil
	o.open--
	n := 0
	for n < len(o.slots) && o.slots[n].item == nil {
		n++
	}
	o.slots, o.first = o.slots[n:], o.first+uint64(n)
}

func (o *outbox) oldest() (uint64, bool) {
	if len(o.slots) == 0 {
		return 0, false
	}
	return o.slots[0].seq, true
}

// giveBack notes that an open slot was not attempted after all; takeBack, that it is out again, or over.
func (o *outbox) giveBack(n uint64) {
	if i, found := slices.BinarySearch(o.back, n); !found {
		o.back = slices.Insert(o.back, i, n)
	}
}

func (o *outbox) takeBack(n uint64) {
	if i, found := slices.BinarySearch(o.back, n); found {
		o.back = slices.Delete(o.back, i, i+1)
	}
}

// marks are the settled seqs above the oldest open one.
func (o *outbox) marks() (seqs []uint64) {
	for _, s := range o.slots {
		if s.item == nil {
			seqs = append(seqs, s.seq)
		}
	}
	return seqs
}

// holds reports whether a seq has an open slot, and whether that was given back.
func (o *outbox) holds(seq uint64) (open, back bool) {
	i, ok := slices.BinarySearchFunc(o.slots, seq, func(s slot, seq uint64) int {
		if s.seq < seq {
			return -1
		}
		return int(min(s.seq-seq, 1))
	})
	if !ok || o.slots[i].item == nil {
		return false, false
	}
	_, back = slices.BinarySearch(o.back, o.first+uint64(i))
	return true, back
}
