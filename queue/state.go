package queue

import (
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"holdfast/store"
)

// An ItemState is one item with what became of it, per sink.
type ItemState struct {
	ID       uuid.UUID
	Accepted time.Time // zero: of a lost item it is not known
	Complete bool      // nothing of it is owed
	Lost     bool      // it is damaged or missing: of Size, Attrs and Key nothing is known. Some sinks may have had it before
	Size     int       // bytes of the body; 0 where no sink wanted it
	Attrs    store.Attrs
	Key      string
	Sinks    []Progress // in the order of their queues' numbers
}

// Progress is how far an item is with one sink. State is waiting, in_flight, retrying, not_due, blocked, done, dead, dropped,
// expired, skipped, purged, lost, or released: it is settled, and how is forgotten, but for another sink the item is kept.
type Progress struct {
	Sink, State string
	Attempts    int
	Next        time.Time // of the next attempt; zero: none is set, or the sink is paused
	LastError   string
}

// State tells where an item stands. Errors: ErrNotFound, ErrReleased.
func (q *Queues) State(id uuid.UUID) (ItemState, error) {
	it, err := q.Item(id)
	lost := errors.Is(err, store.ErrLost) // its sinks may have had it before
	if err != nil && !lost {
		return ItemState{}, err
	}
	ms, _, _, _ := parseID(id)
	s := ItemState{ID: id, Complete: true, Lost: lost, Size: len(it.Body), Attrs: it.Attrs, Key: it.Key}
	if ms != 0 {
		s.Accepted = time.UnixMilli(ms)
	}
	for _, n := range it.Mask.To {
		o := q.owners[n]
		if o == nil {
			continue
		}
		p, err := o.queue.progress(it.Seq)
		if err != nil {
			return ItemState{}, err
		}
		if lost && p.owes {
			p = o.queue.is("lost")
		}
		s.Complete = s.Complete && !p.owes
		s.Sinks = append(s.Sinks, p.Progress)
	}
	if len(s.Sinks) > 0 && !slices.ContainsFunc(s.Sinks, func(p Progress) bool { return p.State != "released" }) {
		return ItemState{}, ErrReleased // just now, or soon
	}
	for _, name := range q.namesOf(it.Mask.Dropped) {
		s.Sinks = append(s.Sinks, Progress{Sink: name, State: "dropped"})
	}
	return s, nil
}

// Item returns an item with its body. Errors: ErrNotFound, ErrReleased; ErrLost, which is an ErrReleased too.
func (q *Queues) Item(id uuid.UUID) (store.Item, error) {
	seq, err := q.seqOf(id)
	if err != nil {
		return store.Item{}, err
	}
	it, err := q.st.Item(0, seq)
	ms, _, _, _ := parseID(id)
	if known := err == nil || errors.Is(err, store.ErrLost) && it.Time != 0; known && it.Time != ms {
		err = ErrNotFound
	}
	return it, err
}

// seqOf says where an item is, if the id is one of this store's that was answered already.
func (q *Queues) seqOf(id uuid.UUID) (uint64, error) {
	_, seq, tag, ok := parseID(id)
	if !ok || tag != q.tag || seq == 0 || seq >= q.fresh.end() {
		return 0, ErrNotFound
	}
	return seq, nil
}

// names are the sinks of a mask, shared by all receipts with that mask where no bound or match told items apart.
func (q *Queues) names(m *store.Mask) []string {
	if m == q.plain {
		return q.plainNames
	}
	return q.namesOf(m.To)
}

func (q *Queues) namesOf(numbers []uint32) []string {
	names := make([]string, 0, len(numbers))
	for _, n := range numbers {
		if s := q.owners[n]; s != nil {
			names = append(names, s.Name)
		}
	}
	return names
}

// A progress is a Progress with the bit of the ack-join.
type progress struct {
	Progress
	owes bool
}

// progress tells where a seq that was meant for this queue stands: as memory knows it, else as the disk does.
func (u *queue) progress(seq uint64) (progress, error) {
	if p, known := u.remembered(seq); known {
		return p, nil
	}
	w, found, err := u.all.st.Row(u.number, seq)
	if err != nil || found {
		return u.ofRow(&w, false), err
	}
	reason, gone, err := u.all.st.Gone(u.number, seq)
	if err != nil || gone {
		return u.is(reasons[reason]), err
	}
	if seq < u.all.st.Oldest() { // how it was settled is forgotten with its segment
		return u.is("released"), nil
	}
	return u.is("done"), nil
}

var reasons = map[store.Reason]string{
	store.GoneDropped: "dropped",
	store.GoneExpired: "expired",
	store.GoneSkipped: "skipped",
	store.GonePurged:  "purged",
	store.GoneLost:    "lost",
}

func (u *queue) is(state string) progress {
	return progress{Progress: Progress{Sink: u.sink.Name, State: state}}
}

// remembered tells what memory knows of a seq. What it does not know is settled: a row on disk, or done.
func (u *queue) remembered(seq uint64) (progress, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if w := u.rows.all[seq]; w != nil {
		return u.ofRow(&w.Row, w.out), true
	}
	if dead, ok := u.books.dying[seq]; ok {
		return u.ofRow(&dead, false), true
	}
	if why, ended := u.books.ended[seq]; ended {
		return u.is(reasons[why]), true
	}
	if u.books.gone[seq] {
		return u.is("done"), true
	}
	open, back := u.out.holds(seq)
	if open && !back {
		p := u.is("in_flight")
		p.owes = true
		return p, true
	}
	if open || seq >= u.pos && !u.marked[seq] {
		p := u.is("waiting")
		p.owes = true
		return p, true
	}
	return progress{}, false
}

func (u *queue) ofRow(w *store.Row, out bool) progress {
	p := u.is("retrying")
	p.Attempts, p.LastError, p.owes = int(w.Attempts), w.LastError, w.Owes
	switch {
	case w.State == store.RowDead:
		p.State = "dead"
	case out:
		p.State = "in_flight"
	case w.State == store.RowReady:
		p.State = "waiting"
	case w.State == store.RowBlocked:
		p.State = "blocked"
	case w.State == store.RowNotDue:
		p.State, p.Next = "not_due", time.UnixMilli(w.Next)
	case u.sink.paused.Load(): // its time may come, and nothing follows from that
	default:
		p.Next = u.all.clock.wall(w.Next)
	}
	return p
}

// A SinkStatus is a sink as the queue sees it.
type SinkStatus struct {
	Name                        string
	State                       string // active, paused or orphan
	Waiting, WaitingBytes       int64
	Oldest                      time.Time // when the oldest that waits was accepted; zero: none does
	InFlight                    int
	Dead, DeadBytes             int64
	Accepted, Requeued          int64     // since the queue was made
	Settled, Delivered, Dropped int64     // Settled since the queue was made; the others since the start
	LastError                   string    // of the delivery that is retried next; empty: none is
	NextAttempt                 time.Time // of that one; zero while the sink is paused
	Held                        bool      // by dead letters that are full; LastError says so
	Unread                      time.Time // since when its queue cannot be read, so that nothing is delivered; LastError says so. Zero: it can
}

// Sinks tells where every sink stands: the configured ones in their order, then orphans.
func (q *Queues) Sinks() []SinkStatus {
	out := make([]SinkStatus, len(q.sinks))
	for i, s := range q.sinks {
		out[i] = s.queue.status()
	}
	return out
}

func (u *queue) status() SinkStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.waiting()
	s := SinkStatus{
		Name: u.sink.Name, State: "active", Waiting: w.Items, WaitingBytes: w.Bytes,
		InFlight: u.inFlight(),
		Dead:     u.counts.Dead.Items, DeadBytes: u.counts.Dead.Bytes,
		Accepted: u.all.st.Accepted(u.number).Items, Requeued: u.counts.Requeued.Items, Settled: u.counts.Settled.Items,
	}
	if u.sink.orphan {
		s.State = "orphan"
	} else if u.sink.paused.Load() {
		s.State = "paused"
	}
	if w.Items > 0 {
		s.Oldest = u.oldest()
	}
	if s.Held = u.held.Load(); s.Held {
		s.LastError = "dead letters are full: nothing is delivered until some are requeued or purged"
	} else if next := u.rows.nextRetry(); next != nil {
		s.LastError = next.LastError
		if s.State == "active" {
			s.NextAttempt = u.all.clock.wall(next.Next)
		}
	}
	if s.Unread = u.unread.since; !s.Unread.IsZero() {
		s.LastError, s.NextAttempt = u.unread.err.Error(), time.Time{}
	}
	s.Delivered, s.Dropped = u.all.metrics.outcomes(u)
	return s
}

// oldest is when the item with the lowest seq that waits was accepted. It is kept until another one is the oldest. u.mu
// is held.
func (u *queue) oldest() time.Time {
	seq, found := u.out.oldest()
	if it, err := u.peek(); !found && err == nil && it != nil {
		seq, found = it.Seq, true
	}
	if err := u.fetch(); err != nil {
		return time.Time{}
	}
	for _, h := range []*rowHeap{&u.rows.aged, &u.rows.sent} {
		if len(h.rows) > 0 && (!found || h.rows[0].Seq < seq) {
			seq, found = h.rows[0].Seq, true
		}
	}
	if found && seq != u.oldestSeq {
		if it, err := u.all.st.Item(u.number, seq); err == nil {
			u.oldestSeq, u.oldestTime = seq, time.UnixMilli(it.Time)
		}
	}
	if !found {
		return time.Time{}
	}
	return u.oldestTime
}

// A Status is the whole at a glance.
type Status struct {
	Accepting           bool
	Reason              string // why not: full, disk_full or stopping
	Usage               store.Usage
	MaxBytes, FreeBytes int64
	Accepted, Released  int64         // seqs given since the store was made, and those of them whose segment went
	Appending           time.Duration // how long the group commit under way has taken so far; 0: none is
}

// Status tells whether items are accepted, and what the disk holds.
func (q *Queues) Status() Status {
	s := Status{Reason: q.room.full(0), Usage: q.st.Usage(), MaxBytes: q.o.MaxBytes, FreeBytes: q.room.freeBytes()}
	s.Accepted, s.Released = int64(q.st.Next()-1), int64(q.st.Oldest()-1)
	if began := q.appends.Load(); began != nil {
		s.Appending = time.Since(*began)
	}
	select {
	case <-q.stopping:
		s.Reason = "stopping"
	default:
	}
	s.Accepting = s.Reason == ""
	return s
}

// sorted returns the sinks by name, for lists that go on where another ended.
func (q *Queues) sorted() []*sink {
	return slices.SortedFunc(slices.Values(q.sinks), func(a, b *sink) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}
