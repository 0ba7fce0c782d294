package queue

import (
	"sort"
	"sync"

	"holdfast/store"
)

// A fresh is the newest blocks, shared by all feeds: a sink that keeps up never reads the log. It is bounded by bytes, and
// one block is always kept. Safe for concurrent use; no method does more than a few steps.
type fresh struct {
	limit int64

	mu     sync.RWMutex
	blocks []*store.Block // guarded by mu; ascending
	bytes  int64          // guarded by mu
	next   uint64         // guarded by mu; everything below may be handed out
}

func newFresh(limit int64, next uint64) *fresh { return &fresh{limit: limit, next: next} }

// add publishes the blocks of one group commit: from here on lanes may see them.
func (f *fresh) add(blocks []*store.Block) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range blocks {
		f.blocks = append(f.blocks, b)
		f.bytes += int64(b.Size)
		f.next = b.First + uint64(len(b.Items))
	}
	n := 0
	for f.bytes > f.limit && n < len(f.blocks)-1 {
		f.bytes -= int64(f.blocks[n].Size)
		f.blocks[n] = nil
		n++
	}
	f.blocks = f.blocks[n:]
}

// end is the seq below which everything may be handed out.
func (f *fresh) end() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.next
}

// block returns the one that holds seq, or the first after it; nil if seq is older than what is kept, or not published.
func (f *fresh) block(seq uint64) *store.Block {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if len(f.blocks) == 0 || seq < f.blocks[0].First {
		return nil
	}
	i := sort.Search(len(f.blocks), func(i int) bool { return f.blocks[i].First+uint64(len(f.blocks[i].Items)) > seq })
	if i == len(f.blocks) {
		return nil
	}
	return f.blocks[i]
}
