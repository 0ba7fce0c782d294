package queue

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/google/uuid"
)

// acks call Options.OnAck, at least once for each item, also after a crash: the transaction that settles the last owed bit
// of an item writes down that its ack is owed, and a later one, after the hook has returned, that it is not any more. A
// segment stays while an ack of it is owed, since the item's id is in it.
type acks struct {
	hook func(ids []uuid.UUID)
	news chan struct{} // to the loop: something is due

	mu     sync.Mutex
	next   []uint64        // guarded by mu; owed to nobody, to be written down with the next commit
	owed   map[uint64]bool // guarded by mu; written down, hook not yet seen to return durably
	due    []uint64        // guarded by mu; written down, hook not called
	called []uint64        // guarded by mu; hook has returned, not written down
}

func newAcks(hook func([]uuid.UUID)) *acks {
	return &acks{hook: hook, news: make(chan struct{}, 1), owed: map[uint64]bool{}}
}

// loadAcks takes over what an earlier process left: the acks that were written down, and the items owed to nobody that came
// after its last commit.
func (q *Queues) loadAcks() error {
	if q.acks.hook == nil {
		return nil
	}
	for from, more := uint64(0), true; more; {
		seqs, err := q.st.Acks(from, page)
		if err != nil {
			return err
		}
		if q.acks.committed(seqs, nil, true); len(seqs) > 0 {
			from = seqs[len(seqs)-1] + 1
		}
		more = len(seqs) == page
	}
	for seq := max(q.st.Noted(), q.st.Oldest()); seq < q.st.Next(); seq++ {
		it, err := q.st.Item(0, seq)
		switch {
		case errors.Is(err, ErrNotFound): // a gap
		case err != nil:
			return err
		case len(it.Mask.To) == 0:
			q.acks.nobody(seq)
			poke(q.dirty)
		}
	}
	return nil
}

// nobody notes an item of a group commit that no queue is owed.
func (a *acks) nobody(seq uint64) {
	a.mu.Lock()
	a.next = append(a.next, seq)
	a.mu.Unlock()
}

// collectAcks returns the acks that become owed with the next commit, given the seqs that some queue settles with it, and
// those that are owed no longer. An item that cannot be read gets none.
func (q *Queues) collectAcks(settled []uint64) (owed, called []uint64) {
	a := q.acks
	if a.hook == nil {
		return nil, nil
	}
	a.mu.Lock()
	owed, called = a.next, a.called
	a.next, a.called = nil, nil
	known := maps.Clone(a.owed)
	a.mu.Unlock()
	for _, seq := range settled {
		if known[seq] {
			continue
		}
		known[seq] = true
		switch last, err := q.lastBit(seq); {
		case err != nil:
			q.o.Log.Error("an ack is not given: its item cannot be read", "seq", seq, "err", err)
		case last:
			owed = append(owed, seq)
		}
	}
	return owed, called
}

// lastBit reports whether no queue owes an item any more, as the commit that is being made will show it.
func (q *Queues) lastBit(seq uint64) (bool, error) {
	it, err := q.st.Item(0, seq)
	if err != nil {
		return false, err
	}
	for _, n := range it.Mask.To {
		s := q.owners[n]
		if s == nil {
			continue
		}
		if owes, err := s.queue.owesYet(seq); owes || err != nil {
			return false, err
		}
	}
	return true, nil
}

// committed takes over what a commit has made durable; what it has not goes into the next.
func (a *acks) committed(owed, called []uint64, durable bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !durable {
		a.next, a.called = append(owed, a.next...), append(called, a.called...)
		return
	}
	for _, seq := range owed {
		a.owed[seq] = true
	}
	for _, seq := range called {
		delete(a.owed, seq)
	}
	if a.due = append(a.due, owed...); len(a.due) > 0 {
		poke(a.news)
	}
}

// pins reports whether an ack of a range of seqs is owed.
func (a *acks) pins(first, end uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for seq := range a.owed {
		if first <= seq && seq < end {
			return true
		}
	}
	return false
}

// ackLoop calls the hook, many ids at a time, until ctx ends. What it had no time for is called after the next start.
func (q *Queues) ackLoop(ctx context.Context) error {
	for {
		select {
		case <-q.acks.news:
		case <-ctx.Done():
			return nil
		}
		q.acks.mu.Lock()
		due := q.acks.due
		q.acks.due = nil
		q.acks.mu.Unlock()
		ids := make([]uuid.UUID, 0, len(due))
		for _, seq := range due {
			it, err := q.st.Item(0, seq)
			if errors.Is(err, ErrReleased) {
				continue // its segment went with a lost commit; the ack was for an earlier process
			}
			if err != nil {
				q.o.Log.Error("an ack is not given: its item cannot be read", "seq", seq, "err", err)
				continue
			}
			ids = append(ids, makeID(it.Time, seq, q.tag))
		}
		if len(ids) > 0 {
			q.acks.hook(ids)
		}
		q.acks.mu.Lock()
		q.acks.called = append(q.acks.called, due...)
		q.acks.mu.Unlock()
		poke(q.dirty)
	}
}
