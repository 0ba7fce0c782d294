// Step 3 of an item's life: it goes to the log with all that waits beside it, as one group commit.

package queue

import (
	"context"
	"errors"
	"time"

	"holdfast/store"
)

// A Pending is a request on its way to the log.
type Pending struct {
	queues *Queues
	source string
	join   *Join        // nil: the producer does not wait for it
	items  []store.Item // those that are not duplicates
	keys   []*seen      // by position in the request; nil: no item has a key
	dups   []bool       // likewise: which are duplicates
	bytes  int64        // about what the items take in the log

	done     latch // set when the rest is
	err      error
	accepted Accepted

	item    [1]store.Item // room for what most requests have
	receipt [1]Receipt    // likewise
}

// Wait returns what became of the request: see Put. If ctx ends first it returns ErrUncertain; the request goes on. It is
// called once.
func (p *Pending) Wait(ctx context.Context) (Accepted, error) {
	if err := p.await(ctx); err != nil {
		if p.join != nil {
			p.join.Close()
		}
		return Accepted{}, err
	}
	if p.err == nil && p.join != nil {
		p.queues.follow(p)
	}
	return p.accepted, p.err
}

// Release gives the memory of a request back that has been answered, for another one: a quarter of what a service with 64 streams
// allocated. It is called once, and last: the caller has no use for its receipts any more. It may be left out, and does nothing where others may still look
// at the request: those that wait for its keys, or for its sinks.
func (p *Pending) Release() {
	if q := p.queues; p.done.isSet() && p.keys == nil && p.join == nil {
		*p = Pending{}
		q.pendings.Put(p)
	}
}

func (p *Pending) await(ctx context.Context) error {
	if p.done.isSet() || ctx.Err() == nil && p.done.wait(ctx.Done(), p.queues.waitings) {
		return nil
	}
	return ErrUncertain
}

// duplicate reports whether the item at a position of the request was stored by an earlier one, or by an earlier item of
// the same.
func (p *Pending) duplicate(i int) bool { return p.dups != nil && p.dups[i] }

// position is where one of items stands in the request.
func (p *Pending) position(item int) int {
	for i, dup := range p.dups {
		if dup {
			continue
		}
		if item == 0 {
			return i
		}
		item--
	}
	return item
}

func (p *Pending) hash(i int) *store.Dedupe {
	if p.keys == nil || p.keys[i] == nil {
		return nil
	}
	return &p.keys[i].hash
}

// maxCommit bounds the bytes of a group commit, and with them how long those that wait for the next one wait.
const maxCommit = 4 << 20

// commitLoop appends what waits until ctx ends; then it refuses what comes, and appends what had come. An error is fatal.
func (q *Queues) commitLoop(ctx context.Context) error {
	defer q.refuse()
	g := group{limit: min(maxCommit, q.st.MaxGroup())}
	for {
		select {
		case p := <-q.requests:
			if q.o.CommitDelay > 0 {
				q.linger(ctx)
			}
			if err := q.commitWaiting(ctx, &g, p); err != nil {
				return err
			}
		case <-q.rotate:
			if err := q.st.Rotate(); err != nil && !errors.Is(err, store.ErrFull) {
				return err
			}
			poke(q.keep)
		case <-ctx.Done():
			q.refuse()
			return q.commitRest(ctx, &g)
		}
	}
}

// linger lets a group gather, to trade latency for flash wear.
func (q *Queues) linger(ctx context.Context) {
	t := time.NewTimer(q.o.CommitDelay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// commitRest answers the requests that were handed over before the queue stopped.
func (q *Queues) commitRest(ctx context.Context, g *group) error {
	for p := q.nextRequest(); p != nil; p = q.nextRequest() {
		if err := q.commitWaiting(ctx, g, p); err != nil {
			return err
		}
	}
	return nil
}

// A group is the requests of one group commit, its slices used again.
type group struct {
	limit    int64
	requests []*Pending
	items    []store.Item
	bytes    int64
	grown    int64  // bytes appended since the keeper was told
	segment  uint64 // the newest of the log when it was
}

// fits adds a request, unless the group has some and would grow beyond its limit.
func (g *group) fits(p *Pending) bool {
	if len(g.requests) > 0 && g.bytes+p.bytes > g.limit {
		return false
	}
	g.requests, g.items, g.bytes = append(g.requests, p), append(g.items, p.items...), g.bytes+p.bytes
	return true
}

func (g *group) reset() {
	clear(g.requests)
	clear(g.items)
	g.requests, g.items, g.bytes = g.requests[:0], g.items[:0], 0
}

// commitWaiting commits first and all that waits behind it, in as many groups as it takes.
func (q *Queues) commitWaiting(ctx context.Context, g *group, first *Pending) error {
	for p := first; p != nil; {
		g.reset()
		if p = q.gather(g, p); p == nil && q.o.CommitDelay == 0 && g.bytes < g.limit/2 {
			q.company.wait(ctx, len(g.requests), func() int { return len(q.requests) })
			p = q.gather(g, q.nextRequest())
		}
		if err := q.commit(g); err != nil {
			if p != nil {
				q.withdraw(p)
				q.answer(p, ErrStopping)
			}
			return err
		}
	}
	return nil
}

// gather adds a request and those that wait behind it, and returns the one that does not fit; nil if all do.
func (q *Queues) gather(g *group, p *Pending) *Pending {
	for p != nil && g.fits(p) {
		p = q.nextRequest()
	}
	return p
}

// turnAway answers the requests that came too late for the committer: they were never appended.
func (q *Queues) turnAway() {
	for p := q.nextRequest(); p != nil; p = q.nextRequest() {
		q.withdraw(p)
		q.answer(p, ErrStopping)
	}
}

// nextRequest takes one that waits; nil if none does.
func (q *Queues) nextRequest() *Pending {
	select {
	case p := <-q.requests:
		return p
	default:
		return nil
	}
}

// commit appends one group and answers its requests. Memory changes only after the append: if we were to crash before,
// nobody was told anything; if right after, the items are there at the next start.
func (q *Queues) commit(g *group) error {
	if len(g.items) > 0 {
		q.number(g.items)
		g.number()
		for _, p := range g.requests {
			q.join.expect(p)
		}
		began := time.Now()
		q.appends.Store(&began)
		blocks, err := q.st.Append(g.items, q.clock.now(), nil)
		q.appends.Store(nil)
		q.room.appended(errors.Is(err, store.ErrFull))
		if err != nil {
			return q.uncommitted(g, err)
		}
		took := time.Since(began)
		q.metrics.committed(g, took)
		if q.o.CommitDelay == 0 {
			q.company.wrote(len(g.requests), len(q.requests), took)
		}
		q.publish(g, blocks)
	}
	for _, p := range g.requests {
		q.dedupe.commit(p)
		q.answer(p, nil)
	}
	if newest := q.st.Newest(); newest != g.segment || g.grown > q.st.MaxGroup()/8 {
		g.segment, g.grown = newest, 0
		poke(q.keep)
	}
	g.grown += g.bytes
	return nil
}

// publish lets the lanes see the items of a group that is durable.
func (q *Queues) publish(g *group, blocks []*store.Block) {
	for i := range g.items {
		if len(g.items[i].Mask.To) == 0 && q.acks.hook != nil {
			q.acks.nobody(&g.items[i])
			poke(q.dirty) // nobody settles it
		}
	}
	q.fresh.add(blocks)
	q.room.came(g.items)
	q.wakeFeeds()
}

// number gives the items their seqs and their time, which never goes back.
func (q *Queues) number(items []store.Item) {
	seq, ms := q.st.Next(), max(time.Now().UnixMilli(), q.st.IDTime())
	for i := range items {
		items[i].Seq, items[i].Time = seq+uint64(i), ms
	}
}

// number tells the requests what their items got.
func (g *group) number() {
	n := 0
	for _, p := range g.requests {
		n += copy(p.items, g.items[n:n+len(p.items)])
	}
}

// uncommitted answers a group that was not appended. A full disk stored nothing, and passes; what else happened is
// uncertain, and fatal.
func (q *Queues) uncommitted(g *group, err error) error {
	answer, fatal := error(ErrUncertain), err
	if errors.Is(err, store.ErrFull) {
		answer, fatal = &FullError{Disk: true}, nil
		poke(q.keep)
	}
	for _, p := range g.requests {
		if len(p.items) == 0 { // it only asked again for receipts
			q.answer(p, nil)
			continue
		}
		if p.join != nil {
			p.join.Close()
		}
		q.withdraw(p)
		q.answer(p, answer)
	}
	return fatal
}

// answer ends a request.
func (q *Queues) answer(p *Pending, err error) {
	if p.err = err; err == nil {
		p.accepted.Receipts = q.receipts(p)
		p.accepted.Join = p.join
		q.metrics.accepted(p)
		for i := range p.items {
			p.items[i].Body = nil // the producer's again
		}
	}
	p.done.set()
}

// receipts are what the producer is told, in the order of its request.
func (q *Queues) receipts(p *Pending) []Receipt {
	n := len(p.items)
	if p.keys != nil {
		n = len(p.keys)
	}
	out, next := p.receipt[:], 0
	if n != 1 {
		out = make([]Receipt, n)
	}
	for i := range out {
		if p.duplicate(i) {
			s := p.keys[i]
			out[i] = Receipt{ID: makeID(s.ms, s.seq, q.tag), Accepted: time.UnixMilli(s.ms), Duplicate: true}
			continue
		}
		it := &p.items[next]
		next++
		out[i] = Receipt{ID: makeID(it.Time, it.Seq, q.tag), Accepted: time.UnixMilli(it.Time), RoutedTo: q.names(it.Mask)}
	}
	return out
}
