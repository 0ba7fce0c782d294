// Step 4 of an item's life: the log writes it, with all that wait, in one write and one fdatasync. Now it is accepted.

package store

import (
	"fmt"
	"os"
)

// A Block is items that were written together, as the feeds want them. It is immutable.
type Block struct {
	First     uint64 // seq of Items[0]; the others follow without a gap
	Group     uint64 // first seq of its group commit: everything below was durable before
	QueueTime int64  // ms of queue time when it was written
	Masks     []*Mask
	Items     []Item // they point into the block's buffer
	Size      int    // bytes of the buffer that are this block's
}

// Append stores items as one group commit: one write and one fdatasync. items[0].Seq is Next, the others follow without
// a gap; times ascend; every item has a Mask. The items of a request stand together, all but its first with Continues.
// positions are the newest positions of sources; they become durable with the items.
//
// When it returns nil error the items are durable, and the blocks hold them, pointing into buffers of their own: nothing
// of what was passed in is kept but the masks. ErrFull, wrapped: nothing was stored, and the segment was cut back to
// where it was; so does a process that may open no more files. A *FatalError: it is not known what was stored, and every later call fails with the same.
//
// One goroutine appends. It panics when the items do not follow, or RewriteTail is due.
func (s *Store) Append(items []Item, queueTime int64, positions map[string][]byte) ([]*Block, error) {
	if err := s.queues.clearClean(); err != nil {
		return nil, err
	}
	return s.log.append(items, queueTime, positions, s.queues.snapshot)
}

func (l *segmentLog) append(items []Item, queueTime int64, positions map[string][]byte, snap func() snapshot) ([]*Block, error) {
	if err := l.failure(); err != nil {
		return nil, err
	}
	next := l.next()
	mustFollow(items, next)
	if l.rewrite {
		panic("store: append before RewriteTail")
	}
	total := l.plan(items, queueTime, positions)
	if l.mustRotate(next, int64(total)) {
		if err := l.rotate(next, snap); err != nil {
			return nil, err
		}
		total = l.plan(items, queueTime, positions)
	}
	g := l.active
	f, err := g.open()
	if err != nil {
		return nil, l.fail("append", err)
	}
	if err := l.allocateAhead(g, f, int64(total)); err != nil {
		return nil, err
	}
	b, blocks := l.enc.encode(items, next, queueTime, g.seed, g.size, total)
	if err := l.write(g, f, b); err != nil {
		return nil, err
	}
	l.publish(g, blocks, positions)
	return blocks, nil
}

// plan prepares the encoder for what comes next in the active segment, or in a new one, and returns its length with what
// stands behind it.
func (l *segmentLog) plan(items []Item, queueTime int64, positions map[string][]byte) int {
	if l.active == nil {
		return l.enc.plan(items, items[0].Seq, queueTime, positions)
	}
	total := l.enc.plan(items, l.active.end, queueTime, positions)
	return total + padding(l.active.size, total)
}

// mustFollow panics unless the items are what Append asks for.
func mustFollow(items []Item, next uint64) {
	if len(items) == 0 {
		panic("store: append of no items")
	}
	for i := range items {
		if items[i].Seq != next+uint64(i) || items[i].Mask == nil {
			panic(fmt.Sprintf("store: append of seq %d where %d is next, or without a mask", items[i].Seq, next+uint64(i)))
		}
	}
}

// mustRotate decides whether a group commit of n bytes starts a new segment: also where seqs were left out, so that the
// header tells of it. Only the appending goroutine changes the size and the end of the active segment.
func (l *segmentLog) mustRotate(next uint64, n int64) bool {
	g := l.active
	if g == nil || g.end != next && g.items > 0 || l.rotateSoon.Load() {
		return true
	}
	return g.size > g.start && g.size+n > l.opts.SegmentBytes
}

// allocateAhead takes disk for n more bytes, and some more, so that the write does not meet a full disk.
func (l *segmentLog) allocateAhead(g *segment, f *os.File, n int64) error {
	need := g.size + n
	if need <= g.allocated {
		return nil
	}
	ahead := max(need, min(need+aheadBytes, l.opts.SegmentBytes))
	if err := l.ops.allocate(f, g.allocated, ahead-g.allocated, false); err != nil {
		return l.refuse("append", g.named(err))
	}
	l.mu.Lock()
	g.allocated = ahead
	l.mu.Unlock()
	return nil
}

// write puts a group commit on the disk. A write that met a full disk is taken back, durably, before ErrFull is
// answered: otherwise a restart could find what the producer was told is not stored. Any other failure is fatal.
func (l *segmentLog) write(g *segment, f *os.File, b []byte) error {
	err := l.pwrite(f, b, g.size)
	if err != nil && isFull(err) {
		return l.cutBack(g, f, err)
	}
	if err != nil {
		return l.fail("append", g.named(err))
	}
	if err := l.ops.fdatasync(f); err != nil {
		return l.fail("append", g.named(err))
	}
	return nil
}

func (l *segmentLog) cutBack(g *segment, f *os.File, cause error) error {
	if err := l.ops.truncate(f, g.size); err != nil {
		return l.fail("append: cut back", g.named(err))
	}
	if err := l.ops.fdatasync(f); err != nil {
		return l.fail("append: cut back", g.named(err))
	}
	l.mu.Lock()
	g.allocated = g.size
	l.mu.Unlock()
	return fmt.Errorf("append: %w: %w", ErrFull, g.named(cause))
}

// publish lets readers see what is durable now.
func (l *segmentLog) publish(g *segment, blocks []*Block, positions map[string][]byte) {
	keys := int64(0)
	for _, b := range blocks {
		for i := range b.Items {
			if b.Items[i].Dedupe != nil {
				keys++
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, b := range blocks {
		p := &l.enc.plans[i]
		g.add(&p.header, g.size, p.masks, p.tallies)
		countAccepted(l.accepted, p.masks, p.tallies)
		g.lastTime = b.Items[len(b.Items)-1].Time
	}
	g.keys += keys
	g.allocated = max(g.allocated, g.size)
	l.newest = max(l.newest, g.lastTime)
	l.seq = max(l.seq, g.end)
	l.positions = addPositions(l.positions, positions)
}

// add takes a block that is durable at off into the state of its segment.
func (st *segmentState) add(h *blockHeader, off int64, masks []*Mask, tallies []Tally) {
	st.index.add(h, off, masks)
	st.end = h.end()
	st.size = off + int64(h.size())
	for _, t := range tallies {
		st.items += t.Items
		st.bytes += t.Bytes
	}
	st.queues = addTallies(st.queues, masks, tallies)
}

func countAccepted(accepted map[uint32]Tally, masks []*Mask, tallies []Tally) {
	for i, m := range masks {
		for _, q := range m.To {
			accepted[q] = accepted[q].Add(tallies[i])
		}
	}
}
