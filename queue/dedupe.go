package queue

import (
	"context"
	"crypto/sha256"
	"iter"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/store"
)

// A dedupe knows the idempotency keys of the window, or the newest of them if there are more than the limit. A key is
// claimed before its item is committed: until then, whoever brings it again waits. Safe for concurrent use.
type dedupe struct {
	window  int64 // ms of queue time: a step of the wall clock forgets nothing
	limit   int
	now     func() int64
	lossy   func() bool           // is any item known to be lost? It costs next to nothing
	isLost  func(seq uint64) bool // is that one, for somebody who was owed it? Not called with mu held
	evicted atomic.Int64          // keys that had to go before their window was over

	mu    sync.Mutex
	known map[[16]byte]*seen // guarded by mu
	order []*seen            // guarded by mu; committed ones, oldest first
}

// A seen is one key. Its id is set once its item is durable.
type seen struct {
	hash     store.Dedupe
	seq      uint64
	ms       int64    // of its id
	at       int64    // ms of queue time
	pending  *Pending // who commits it; nil: done
	position int      // of its item in that request
}

func newDedupe(window time.Duration, limit int, now func() int64) *dedupe {
	return &dedupe{window: window.Milliseconds(), limit: limit, now: now, known: map[[16]byte]*seen{}}
}

// load takes over the keys that the store still has. How old they are is what lies between their items, the newest one,
// and the wall clock, but for the gaps that are not plausible: there the clock has stepped, as from 1970 to the present.
func (d *dedupe) load(keys iter.Seq[store.Key], newest int64, wall time.Time) {
	var last, age int64 // of the wall clock, and ms since the first key without its steps
	next := func(to int64) {
		age += elapsed(last, to)
		last = max(last, to)
	}
	for k := range keys {
		next(k.Time)
		s := &seen{hash: k.Dedupe, seq: k.Seq, ms: k.Time, at: age}
		d.known[k.Dedupe.Key] = s
		d.order = append(d.order, s)
		d.bound()
	}
	next(newest)
	next(wall.UnixMilli())
	for _, s := range d.order {
		s.at += d.now() - age
	}
	d.trim()
	d.evicted.Store(0) // they were counted when they went
}

// claim looks up the keys of a request: known ones become duplicates, new ones are claimed for p, all at once. A key that
// another request is committing is waited for, while nothing is claimed.
func (d *dedupe) claim(ctx context.Context, p *Pending, r Request) error {
	hashes := hashesOf(r)
	if hashes == nil {
		return nil
	}
	p.keys, p.dups = make([]*seen, len(r.Items)), make([]bool, len(r.Items))
	if d.lossy != nil && d.lossy() {
		d.forgetLost(hashes)
	}
	for {
		other, err := d.try(p, r, hashes)
		if other == nil {
			return err
		}
		if !other.done.wait(ctx.Done(), p.queues.waitings) {
			return ErrUncertain
		}
	}
}

// forgetLost forgets those of some keys whose items are lost: who brings one again has it accepted anew, as else nobody would
// ever get it. Nothing is claimed meanwhile: to look at a queue may take a while.
func (d *dedupe) forgetLost(hashes []*store.Dedupe) {
	var old []*seen
	d.mu.Lock()
	for _, h := range hashes {
		if h == nil {
			continue
		}
		if s := d.known[h.Key]; s != nil && s.pending == nil {
			old = append(old, s)
		}
	}
	d.mu.Unlock()
	d.strike(old)
}

// forgetAllLost is forgetLost for every key that is known.
func (d *dedupe) forgetAllLost() {
	d.mu.Lock()
	old := slices.Clone(d.order)
	d.mu.Unlock()
	d.strike(old)
}

// strike forgets those of some committed keys whose items are lost.
func (d *dedupe) strike(old []*seen) {
	lost := slices.DeleteFunc(old, func(s *seen) bool { return !d.isLost(s.seq) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range lost {
		if d.known[s.hash.Key] == s {
			delete(d.known, s.hash.Key)
		}
	}
}

// try claims all keys, or none and returns the request that is in the way.
func (d *dedupe) try(p *Pending, r Request, hashes []*store.Dedupe) (inTheWay *Pending, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trim()
	for i, h := range hashes {
		if h == nil {
			continue
		}
		s := d.known[h.Key]
		switch {
		case s == nil:
			s = &seen{hash: *h, pending: p, position: i}
			d.known[h.Key] = s
		case s.hash.Body != h.Body:
			err = &MismatchError{i, r.Items[i].IdempotencyKey}
		case s.pending != nil && s.pending != p:
			inTheWay = s.pending
		}
		if err != nil || inTheWay != nil {
			d.forget(p)
			return inTheWay, err
		}
		p.keys[i], p.dups[i] = s, s.pending != p || s.position != i
	}
	return nil, nil
}

// commit makes the keys of a durable request known for good.
func (d *dedupe) commit(p *Pending) {
	if p.keys == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := 0
	for i, s := range p.keys {
		if p.dups[i] {
			continue
		}
		if s != nil {
			s.seq, s.ms, s.at = p.items[next].Seq, p.items[next].Time, d.now()
			d.order = append(d.order, s)
		}
		next++
	}
	for _, s := range p.keys {
		if s != nil && s.pending == p {
			s.pending = nil
		}
	}
	d.trim()
}

// abandon gives up the keys of a request that was not stored.
func (d *dedupe) abandon(p *Pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(p)
}

// forget drops what p has claimed. d.mu is held.
func (d *dedupe) forget(p *Pending) {
	for i, s := range p.keys {
		if s != nil && s.pending == p {
			delete(d.known, s.hash.Key)
		}
		p.keys[i] = nil
	}
}

// trim drops what was before the window that ends now, and what is beyond the limit. d.mu is held.
func (d *dedupe) trim() {
	for from := d.now() - d.window; len(d.order) > 0 && d.order[0].at < from; {
		d.drop()
	}
	d.bound()
}

// bound drops what is beyond the limit. d.mu is held, or nobody else knows d yet.
func (d *dedupe) bound() {
	for len(d.order) > d.limit {
		d.evicted.Add(1)
		d.drop()
	}
}

// drop forgets the oldest key. d.mu is held, or nobody else knows d yet.
func (d *dedupe) drop() {
	s := d.order[0]
	if d.known[s.hash.Key] == s {
		delete(d.known, s.hash.Key)
	}
	d.order[0] = nil
	d.order = d.order[1:]
}

// since is the time in the id of the oldest item whose key is known: what is kept of older keys may go.
func (d *dedupe) since() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trim(); len(d.order) == 0 {
		return math.MaxInt64
	}
	return d.order[0].ms
}

// hashesOf is what is kept of the keys of a request; nil if it has none.
func hashesOf(r Request) []*store.Dedupe {
	var hashes []*store.Dedupe
	for i := range r.Items {
		it := &r.Items[i]
		if it.IdempotencyKey == "" {
			continue
		}
		if hashes == nil {
			hashes = make([]*store.Dedupe, len(r.Items))
		}
		key := sha256.Sum256([]byte(strconv.Itoa(len(r.Scope)) + ":" + r.Scope + it.IdempotencyKey))
		body := sha256.Sum256(it.Body)
		hashes[i] = &store.Dedupe{Key: [16]byte(key[:16]), Body: [16]byte(body[:16])}
	}
	return hashes
}
