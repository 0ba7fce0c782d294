package queue

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"holdfast/store"
)

// acks call Options.OnAck, at least once for each item, also after a crash: the transaction that settles the last owed bit
// of an item writes down that its ack is owed, with the id, and a later one, after the hook has returned, that it is not
// any more. So neither a segment nor a body stays for an ack.
//
// An item that could not be read when its bit was settled may have had its last one: then its ack is written down as one
// in doubt, and its segment stays until it was read.
type acks struct {
	hook  func(ids []uuid.UUID)
	news  chan struct{}   // to the loop: something is due
	doubt map[uint64]bool // the marker's: written down, and to be looked at again
	noted uint64          // the marker's: what nobody is owed below it is written down

	mu     sync.Mutex
	next   []store.Ack // guarded by mu; of items owed to nobody, to be written down with the next commit
	due    []store.Ack // guarded by mu; written down, hook not called
	called []uint64    // guarded by mu; hook has returned, not written down
}

func newAcks(hook func([]uuid.UUID), noted uint64) *acks {
	return &acks{hook: hook, news: make(chan struct{}, 1), doubt: map[uint64]bool{}, noted: max(noted, 1)}
}

// loadAcks takes over what an earlier process left: the acks that were written down, and the items owed to nobody that came
// after its last commit.
func (q *Queues) loadAcks() error {
	if q.acks.hook == nil {
		return nil
	}
	for from, more := uint64(0), true; more; {
		acks, err := q.st.Acks(from, page)
		if err != nil {
			return err
		}
		if q.acks.committed(collected{acks: acks}, true); len(acks) > 0 {
			from = acks[len(acks)-1].Seq + 1
		}
		more = len(acks) == page
	}
	if len(q.acks.doubt) > 0 {
		poke(q.dirty)
	}
	for seq := max(q.st.Noted(), q.st.Oldest()); seq < q.st.Next(); seq++ {
		it, err := q.st.Item(0, seq)
		switch {
		case forGood(err): // a gap, or what was reported as lost
		case err != nil:
			return err
		case len(it.Mask.To) == 0:
			q.acks.nobody(&it)
			poke(q.dirty)
		}
	}
	return nil
}

// noted is what a commit may say that has no acks in it; 0 where there is no hook.
func (q *Queues) noted() uint64 {
	if q.acks.hook == nil {
		return 0
	}
	return q.acks.noted
}

// forGood reports whether err says that an item can never be read. Any other error may pass.
func forGood(err error) bool {
	_, damaged := errors.AsType[*store.DamageError](err)
	return damaged || errors.Is(err, ErrNotFound) || errors.Is(err, ErrReleased)
}

// nobody notes an item of a group commit that no queue is owed, before it is published.
func (a *acks) nobody(it *store.Item) {
	a.mu.Lock()
	a.next = append(a.next, store.Ack{Seq: it.Seq, Time: it.Time})
	a.mu.Unlock()
}

// collected is what a commit writes down of the acks.
type collected struct {
	acks  []store.Ack // owed with it
	acked []uint64    // owed with it no longer
	noted uint64      // everything below it is in this commit or an earlier one; 0: there is no hook

	nobody []store.Ack // those of acks that come again after a commit that failed; lanes' seqs come with their books
	called []uint64    // those of acked that do
}

// collectAcks returns the acks that become owed with the next commit, given the seqs that some queue settles with it, and
// those that are owed no longer. The marker alone calls it.
func (q *Queues) collectAcks(settled []uint64) (c collected) {
	a := q.acks
	if a.hook == nil {
		return c
	}
	c.noted = q.fresh.end() // before next is taken: of what is published from here on that may lack some
	a.mu.Lock()
	c.nobody, c.called = a.next, a.called
	a.next, a.called = nil, nil
	a.mu.Unlock()
	c.acks, c.acked = slices.Clone(c.nobody), slices.Clone(c.called)
	looked := map[uint64]bool{}
	for _, seq := range slices.Concat(slices.Sorted(maps.Keys(a.doubt)), settled) {
		if !looked[seq] {
			looked[seq] = true
			q.collectAck(&c, seq)
		}
	}
	return c
}

// collectAck adds what is to be written down of an item that some queue settled.
func (q *Queues) collectAck(c *collected, seq uint64) {
	doubt := q.acks.doubt[seq]
	ack, last, err := q.lastBit(seq)
	switch {
	case err != nil && !forGood(err):
		poke(q.dirty) // to try again
		if !doubt {
			q.o.Log.Warn("an ack waits: its item cannot be read", "seq", seq, "err", err)
			c.acks = append(c.acks, store.Ack{Seq: seq})
		}
		return
	case err != nil:
		q.o.Log.Error("an ack is not given: its item is lost, and with it the time in its id", "seq", seq, "err", err)
	case last:
		c.acks = append(c.acks, ack)
		return
	}
	if doubt {
		c.acked = append(c.acked, seq)
	}
}

// lastBit reports whether no queue owes an item any more, as the commit that is being made will show it; and its ack.
func (q *Queues) lastBit(seq uint64) (ack store.Ack, last bool, err error) {
	it, err := q.st.Item(0, seq)
	if known := errors.Is(err, store.ErrLost) && it.Time != 0; err != nil && !known {
		return ack, false, err
	}
	for _, n := range it.Mask.To {
		s := q.owners[n]
		if s == nil {
			continue
		}
		if owes, err := s.queue.owesYet(seq); owes || err != nil {
			return ack, false, err
		}
	}
	return store.Ack{Seq: seq, Time: it.Time}, true, nil
}

// committed takes over what a commit has made durable; what it has not goes into the next.
func (a *acks) committed(c collected, durable bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !durable {
		a.next, a.called = append(c.nobody, a.next...), append(c.called, a.called...)
		return
	}
	a.noted = max(a.noted, c.noted)
	for _, ack := range c.acks {
		if ack.Time == 0 {
			a.doubt[ack.Seq] = true
			continue
		}
		delete(a.doubt, ack.Seq)
		a.due = append(a.due, ack)
	}
	for _, seq := range c.acked {
		delete(a.doubt, seq)
	}
	if len(a.due) > 0 {
		poke(a.news)
	}
}

// pins reports whether an item in a range of seqs has still to be read.
func (a *acks) pins(first, end uint64) bool {
	for seq := range a.doubt {
		if first <= seq && seq < end {
			return true
		}
	}
	return false
}

// ackLoop calls the hook, many ids at a time, until ctx ends. What it had no time for is called after the next start.
func (q *Queues) ackLoop(ctx context.Context) {
	a := q.acks
	for {
		select {
		case <-a.news:
		case <-ctx.Done():
			return
		}
		a.mu.Lock()
		due := a.due
		a.due = nil
		a.mu.Unlock()
		if len(due) == 0 {
			continue
		}
		ids, seqs := make([]uuid.UUID, len(due)), make([]uint64, len(due))
		for i, ack := range due {
			ids[i], seqs[i] = makeID(ack.Time, ack.Seq, q.tag), ack.Seq
		}
		a.hook(ids)
		a.mu.Lock()
		a.called = append(a.called, seqs...)
		a.mu.Unlock()
		poke(q.dirty)
	}
}
