// Step 11 of an item's life: its last bit is durable, its producer gets the ack, and its segment may go.

package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"holdfast/store"
)

// A Join waits until nothing of some items is owed any more. It is to be closed.
type Join struct {
	join    *join
	stopped <-chan struct{}
	since   time.Time
	seqs    []uint64      // guarded by join.mu; what it was registered for
	left    int           // guarded by join.mu; items that are still owed, plus one while it is being set up
	closed  bool          // guarded by join.mu
	done    chan struct{} // closed when left is zero
}

// Wait returns nil when every sink's bit of every item is set and durable: no sink is sent them again, not even after a
// power cut. Otherwise it returns ctx's error, or ErrStopping.
func (j *Join) Wait(ctx context.Context) error {
	select {
	case <-j.done:
		return nil
	default:
	}
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-j.stopped:
		return ErrStopping
	}
}

// Close ends the waiting. It may be called more than once.
func (j *Join) Close() { j.join.drop(j) }

// A join knows who waits for which items. It holds nothing of items that nobody waits for: whether something is owed is a
// function of masks, cursors, marks and rows. Safe for concurrent use.
type join struct {
	n    atomic.Int64  // waiters, so that a lane need not take the lock when there are none
	kick chan struct{} // to the marker

	mu      sync.Mutex
	waiting map[uint64][]*waiter // guarded by mu; by seq
	settles []*waiter            // guarded by mu; nothing is owed, but not all of it is durable
}

// A waiter is one item of one Join.
type waiter struct {
	j     *Join
	seq   uint64
	owing []uint32 // queues
}

func newJoin(kick chan struct{}) *join { return &join{kick: kick, waiting: map[uint64][]*waiter{}} }

// open makes a Join that is not done before start is called on it.
func (n *join) open(q *Queues) *Join {
	return &Join{join: n, stopped: q.stopped, since: time.Now(), left: 1, done: make(chan struct{})}
}

// expect registers the items of a request, before a lane can see them.
func (n *join) expect(p *Pending) {
	if p.join == nil {
		return
	}
	for i := range p.items {
		n.add(p.join, p.items[i].Seq, p.items[i].Mask)
	}
}

func (n *join) add(j *Join, seq uint64, m *store.Mask) {
	if len(m.To) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if j.closed {
		return
	}
	n.waiting[seq] = append(n.waiting[seq], &waiter{j, seq, slices.Clone(m.To)})
	j.seqs = append(j.seqs, seq)
	j.left++
	n.n.Add(1)
}

// started lets a Join be done: all its items are registered.
func (n *join) started(j *Join) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.less(j)
}

// less takes one item off a Join. n.mu is held.
func (n *join) less(j *Join) {
	if j.left--; j.left == 0 {
		close(j.done)
	}
}

// settled says that a queue owes an item no longer. Those who wait for it are answered after the next mark commit, which
// begins at once. To say it twice does no harm.
func (n *join) settled(seq uint64, queue uint32) {
	if n.n.Load() == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.waiting[seq]
	still := all[:0]
	for _, w := range all {
		w.owing = slices.DeleteFunc(w.owing, func(u uint32) bool { return u == queue })
		if len(w.owing) > 0 {
			still = append(still, w)
			continue
		}
		n.settles = append(n.settles, w)
		poke(n.kick)
	}
	n.keep(seq, still)
}

// keep stores who still waits for a seq. n.mu is held.
func (n *join) keep(seq uint64, still []*waiter) {
	if len(still) == 0 {
		delete(n.waiting, seq)
	} else {
		n.waiting[seq] = still
	}
}

// ready takes those whose items are settled in memory: the next commit makes that durable.
func (n *join) ready() []*waiter {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.settles
	n.settles = nil
	return w
}

// unready puts them back after a commit that failed.
func (n *join) unready(ws []*waiter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settles = append(ws, n.settles...)
}

// fire answers those whose marks are durable now.
func (n *join) fire(ws []*waiter, m *metrics) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range ws {
		m.joined(time.Since(w.j.since))
		n.less(w.j)
	}
	n.n.Add(-int64(len(ws)))
}

// drop forgets what is registered for a Join.
func (n *join) drop(j *Join) {
	n.mu.Lock()
	defer n.mu.Unlock()
	j.closed = true
	select {
	case <-j.done:
		return
	default:
	}
	ours := func(w *waiter) bool { return w.j == j }
	for _, seq := range j.seqs {
		ws := n.waiting[seq]
		still := slices.DeleteFunc(ws, ours)
		n.n.Add(int64(len(still) - len(ws)))
		n.keep(seq, still)
	}
	had := len(n.settles)
	n.settles = slices.DeleteFunc(n.settles, ours)
	n.n.Add(int64(len(n.settles) - had))
}

// follow completes the Join of a request whose items are durable: its duplicates are waited for like any item accepted
// before.
func (q *Queues) follow(p *Pending) {
	for i := range p.dups {
		if p.dups[i] {
			if err := q.watch(p.join, p.keys[i].seq); err != nil {
				q.o.Log.Error("cannot wait for an item", "seq", p.keys[i].seq, "err", err)
				return // it is never done, rather than too early
			}
		}
	}
	q.join.started(p.join)
}

// Join waits for items that were accepted before. Errors: ErrNotFound. An item that is no longer kept is owed to nobody.
func (q *Queues) Join(ids ...uuid.UUID) (*Join, error) {
	j := q.join.open(q)
	for _, id := range ids {
		seq, err := q.seqOf(id)
		if err == nil {
			err = q.watch(j, seq)
		}
		if err != nil {
			j.Close()
			return nil, err
		}
	}
	q.join.started(j)
	return j, nil
}

// watch registers an item that lanes may have seen already: first it is registered, then looked at, so that nothing that
// is settled between can be missed. What is settled may not be durable yet, so it is answered after a commit, too.
func (q *Queues) watch(j *Join, seq uint64) error {
	it, err := q.st.Item(0, seq)
	if errors.Is(err, ErrReleased) {
		return nil
	}
	if err != nil {
		return err
	}
	q.join.add(j, seq, it.Mask)
	for _, n := range it.Mask.To {
		s := q.owners[n]
		owes := false
		if s != nil {
			if owes, err = s.queue.owes(seq); err != nil {
				return err
			}
		}
		if !owes {
			q.join.settled(seq, n)
		}
	}
	return nil
}

// owes reports whether the queue's bit of an item is not set, as far as memory knows.
func (u *queue) owes(seq uint64) (bool, error) {
	p, err := u.progress(seq)
	return p.owes, err
}
