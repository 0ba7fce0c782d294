package queue

import (
	"cmp"
	"context"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/store"
)

// A room knows whether there is place: on the disk for everybody, and for each sink that has a bound.
//
// The budget counts what is allocated, and keeps two segments of headroom for the next one and for evacuation; so it
// is checked before a request is taken, not during its append. Safe for concurrent use.
type room struct {
	path     string
	limit    int64 // 0: none
	minFree  int64
	used     func() store.Usage
	lent     atomic.Int64 // bytes that requests may take before one looks at what is left
	opened   time.Time    // since when the times that follow count, in ns: a wall clock may be set back
	diskFull atomic.Int64 // of the last append that met a full disk; 0: the last one went well
	looked   atomic.Int64 // of the last look at the free space
	free     atomic.Int64 // what it showed

	mu    sync.Mutex
	holds map[uint32]*hold // one per bounded sink; the map is fixed, the holds are guarded by mu
	freed chan struct{}    // guarded by mu; closed and replaced when a bounded sink settles
}

// A hold is what waits for a bounded sink, with what is on its way to it.
type hold struct {
	sink string
	Bounds
	store.Tally
	coming int          // items of it that no lane can see yet
	held   *atomic.Bool // its dead letters are full: see queue
}

// retryFull is how long after an append met a full disk the next request may try again.
const retryFull = time.Second

func newRoom(st *store.Store, o Options) *room {
	limit := o.MaxBytes
	if limit > 0 {
		limit = max(limit-4*st.MaxGroup(), limit/2)
	}
	r := &room{path: st.Path(), limit: limit, minFree: o.MinFree, used: st.Usage, opened: time.Now(), holds: map[uint32]*hold{}, freed: make(chan struct{})}
	r.free.Store(math.MaxInt64)
	r.look()
	return r
}

// bound makes a sink's bounds known, with what waits for it now. Only Open calls it.
func (r *room) bound(u *queue) {
	if b := u.sink.Bounds; b.Items != nil || b.Bytes != nil {
		r.holds[u.number] = &hold{sink: u.sink.Name, Bounds: b, Tally: u.waiting(), held: &u.held}
	}
}

// budget refuses what the disk has no place for. Each look at what is left, which sums up the segments under the lock of the
// log and asks the clock, lends an eighth of that to the requests that follow, and lend at most: they need not look. So much
// more than MinFree allows may be stored where others have filled the disk meanwhile.
func (r *room) budget(size int64) error {
	if !r.refusing() && r.lent.Add(-size) >= 0 {
		return nil
	}
	if reason := r.full(size); reason != "" {
		return &FullError{Disk: reason == diskFull}
	}
	r.lent.Store(min((r.spare()-size)/8, lend))
	return nil
}

const lend = 1 << 20

// The reasons why nothing is accepted.
const budgetFull, diskFull = "full", "disk_full"

func (r *room) full(size int64) string {
	if r.left() < size {
		return budgetFull
	}
	return r.diskReason(size)
}

// left is what the budget still has; negative: how much is too much.
func (r *room) left() int64 {
	if r.limit == 0 {
		return math.MaxInt64
	}
	return r.limit - taken(r.used())
}

func (r *room) now() int64 { return int64(time.Since(r.opened)) }

// refusing reports whether an append met a full disk a moment ago.
func (r *room) refusing() bool {
	at := r.diskFull.Load()
	return at != 0 && r.now()-at < int64(retryFull)
}

func (r *room) diskReason(size int64) string {
	if r.refusing() {
		return diskFull
	}
	if r.minFree > 0 && r.freeBytes()-size < r.minFree {
		return diskFull
	}
	return ""
}

// spare is how many bytes may still be taken; negative: how many should go.
func (r *room) spare() int64 {
	n := r.left()
	if r.minFree > 0 {
		n = min(n, r.freeBytes()-r.minFree)
	}
	return n
}

// taken is what counts against the budget: free pages of queues.db are used again, and do not.
func taken(u store.Usage) int64 { return u.LogBytes + u.SpareBytes + u.QueuesBytes - u.QueuesFree }

// freeBytes is the free space of the disk, looked at once a second at most.
func (r *room) freeBytes() int64 {
	now := r.now()
	if last := r.looked.Load(); now-last > int64(time.Second) && r.looked.CompareAndSwap(last, now) {
		r.look()
	}
	return r.free.Load()
}

// look asks the system; where it does not say, the last answer stands.
func (r *room) look() {
	var fs unix.Statfs_t
	if unix.Statfs(r.path, &fs) == nil {
		r.free.Store(int64(fs.Bavail) * int64(fs.Bsize)) //nolint:unconvert // the types differ between platforms
	}
}

// appended notes whether the last append met a full disk.
func (r *room) appended(full bool) {
	if full {
		r.diskFull.Store(max(1, r.now()))
	} else if r.diskFull.Load() != 0 {
		r.diskFull.Store(0)
	}
}

// reserve holds a place for each item in each bounded sink of its mask, drops the sinks that say so from that, and waits for
// those that block. All items get their places at once, so that two requests cannot wait for each other.
func (r *room) reserve(ctx context.Context, q *Queues, items []store.Item) error {
	if len(r.holds) == 0 {
		return nil
	}
	over := map[uint32]bool{}
	for {
		r.mu.Lock()
		dropped, full := r.fit(items, over)
		if full == nil {
			r.take(q.masks, dropped, items)
			r.mu.Unlock()
			return nil
		}
		freed := r.freed
		r.mu.Unlock()
		if full.never {
			return full.err
		}
		if full.evict != 0 {
			if again, err := r.evict(q, full, over); err != nil {
				return err
			} else if again {
				continue
			}
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return full.err
		case <-q.stopping:
			return ErrStopping
		}
	}
}

// A refusal is why a request does not fit now, or never will.
type refusal struct {
	err   error
	never bool
	evict uint32 // the queue whose oldest deliveries are to make room; 0: none
	sum   store.Tally
}

// evict makes room in a queue for all that a request has for it, and reports whether it made some. If not, everything that
// waits is out, and the request may go over the bound; or it is still being committed, or the dead letters are full, and
// the request waits for that.
func (r *room) evict(q *Queues, full *refusal, over map[uint32]bool) (again bool, err error) {
	s := q.owners[full.evict]
	for more := true; more; {
		found, err := s.queue.evict(s.Bounds.OnFull)
		if err != nil {
			return false, err
		}
		r.mu.Lock()
		h := r.holds[full.evict]
		over[full.evict] = !found && h.coming == 0 && !h.blocks()
		again = again || found || over[full.evict]
		more = found && !h.fits(h.Add(full.sum))
		r.mu.Unlock()
	}
	return again, nil
}

// fit decides, per item, which sinks drop it; or says why the request does not fit. What never fits comes first, and what
// blocks before what would evict: a request that is refused ends nothing. r.mu is held.
func (r *room) fit(items []store.Item, over map[uint32]bool) ([][]uint32, *refusal) {
	dropped := make([][]uint32, len(items))
	extra := map[uint32]store.Tally{}
	var blocks, evicts *refusal
	for i := range items {
		for _, n := range items[i].Mask.To {
			h := r.holds[n]
			if h == nil {
				continue
			}
			sum := extra[n].Add(store.Tally{Items: 1, Bytes: int64(len(items[i].Body))})
			switch {
			case h.OnFull == DropNewest && !h.fits(h.Add(sum)):
				dropped[i] = append(dropped[i], n)
				continue
			case !h.fits(sum):
				return nil, &refusal{err: h.tooLarge(n, i, items), never: true}
			case over[n], h.fits(h.Add(sum)):
			case h.blocks():
				blocks = &refusal{err: &FullError{Sink: h.sink}}
			default:
				evicts = &refusal{err: &FullError{Sink: h.sink}, evict: n}
			}
			extra[n] = sum
		}
	}
	if evicts != nil {
		evicts.sum = extra[evicts.evict]
	}
	return dropped, cmp.Or(blocks, evicts)
}

// blocks reports whether a request that does not fit now waits.
func (h *hold) blocks() bool { return h.OnFull == Block || h.OnFull == BuryOldest && h.held.Load() }

// tooLarge says what the request has for a queue that will never have room for it; item is where it comes to be too much.
func (h *hold) tooLarge(queue uint32, item int, items []store.Item) error {
	var sum store.Tally
	for i := range items {
		if slices.Contains(items[i].Mask.To, queue) {
			sum = sum.Add(store.Tally{Items: 1, Bytes: int64(len(items[i].Body))})
		}
	}
	if b := h.Bounds.Bytes; b != nil && sum.Bytes > *b {
		what := "bytes for sink " + h.sink
		if own := int64(len(items[item].Body)); own > *b {
			return &TooLargeError{item, own, *b, what}
		}
		return &TooLargeError{-1, sum.Bytes, *b, what}
	}
	return &TooLargeError{-1, sum.Items, *h.Bounds.Items, "items for sink " + h.sink}
}

func (h *hold) fits(t store.Tally) bool {
	return (h.Bounds.Items == nil || t.Items <= *h.Bounds.Items) && (h.Bounds.Bytes == nil || t.Bytes <= *h.Bounds.Bytes)
}

// take holds the places that fit found. r.mu is held.
func (r *room) take(masks *interner, dropped [][]uint32, items []store.Item) {
	for i := range items {
		it := &items[i]
		if len(dropped[i]) > 0 {
			to := slices.DeleteFunc(slices.Clone(it.Mask.To), func(n uint32) bool { return slices.Contains(dropped[i], n) })
			it.Mask = masks.intern(to, dropped[i])
		}
		for _, n := range it.Mask.To {
			if h := r.holds[n]; h != nil {
				h.Tally = h.Add(store.Tally{Items: 1, Bytes: int64(len(it.Body))})
				h.coming++
			}
		}
	}
}

// unreserve gives back the places of items that were not stored.
func (r *room) unreserve(items []store.Item) {
	r.came(items)
	for i := range items {
		for _, n := range items[i].Mask.To {
			r.change(n, store.Tally{Items: -1, Bytes: -int64(len(items[i].Body))})
		}
	}
}

// came says that lanes can see items now, or never will: they can be evicted from here on.
func (r *room) came(items []store.Item) {
	if len(r.holds) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range items {
		for _, n := range items[i].Mask.To {
			if h := r.holds[n]; h != nil {
				h.coming--
			}
		}
	}
	r.release()
}

// wake has those who wait for room look again.
func (r *room) wake() {
	r.mu.Lock()
	r.release()
	r.mu.Unlock()
}

// release is wake where r.mu is held.
func (r *room) release() {
	close(r.freed)
	r.freed = make(chan struct{})
}

// change adds to what a bounded sink holds: negative when a delivery is settled, positive when one is requeued.
func (r *room) change(queue uint32, by store.Tally) {
	h := r.holds[queue]
	if h == nil {
		return
	}
	r.mu.Lock()
	h.Tally = h.Add(by)
	if by.Items < 0 {
		r.release()
	}
	r.mu.Unlock()
}

// An interner makes one mask of all equal ones, so that they can be told by their pointers. Safe for concurrent use.
type interner struct {
	mu    sync.Mutex
	masks map[string]*store.Mask // guarded by mu
}

// maxMasks bounds the interner; beyond it, it starts anew, and equal masks may differ in their pointers.
const maxMasks = 4096

func newInterner() *interner { return &interner{masks: map[string]*store.Mask{}} }

func (in *interner) intern(to, dropped []uint32) *store.Mask {
	slices.Sort(to)
	slices.Sort(dropped)
	key := binary.AppendUvarint(nil, uint64(len(to)))
	for _, n := range slices.Concat(to, dropped) {
		key = binary.AppendUvarint(key, uint64(n))
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if m := in.masks[string(key)]; m != nil {
		return m
	}
	if len(in.masks) == maxMasks {
		clear(in.masks)
	}
	m := &store.Mask{To: to, Dropped: dropped}
	in.masks[string(key)] = m
	return m
}
