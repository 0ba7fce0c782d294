package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

const indexSpan = 64 << 10 // the index has an entry for about so many bytes

// An indexEntry stands for the blocks from Off to the Off of the next.
type indexEntry struct {
	Seq   uint64
	Time  int64
	Off   uint32
	Union uint32 // place of the union of their masks in unions
}

// A blockIndex finds a seq in a segment, and tells which stretches hold nothing for a queue.
type blockIndex struct {
	entries []indexEntry
	unions  [][]uint32
	open    int64 // offset from which on no entry is closed yet
	newest  openEntry
}

type openEntry struct {
	used  bool
	seq   uint64
	time  int64
	union []uint32
}

// add puts a block into the index; what readers have of it stays as it is.
func (x *blockIndex) add(h *blockHeader, off int64, masks []*Mask) {
	if !x.newest.used {
		x.newest = openEntry{used: true, seq: h.First, time: h.Time}
		x.open = off
	}
	for _, m := range masks {
		x.newest.union = union(x.newest.union, m.To)
	}
	if off+int64(h.size())-x.open >= indexSpan {
		x.close(off + int64(h.size()))
	}
}

// close ends the newest stretch at off.
func (x *blockIndex) close(off int64) {
	if x.newest.used {
		n := &x.newest
		x.entries = append(x.entries, indexEntry{n.seq, n.time, uint32(x.open), x.place(n.union)})
	}
	x.open, x.newest = off, openEntry{}
}

func (x *blockIndex) place(set []uint32) uint32 {
	for i := len(x.unions) - 1; i >= 0; i-- {
		if slices.Equal(x.unions[i], set) {
			return uint32(i)
		}
	}
	x.unions = append(x.unions, set)
	return uint32(len(x.unions) - 1)
}

// find returns the offset of a block at or before the one that would hold seq; start is that of the first block.
func (x *blockIndex) find(seq uint64, start int64) int64 {
	if x.newest.used && seq >= x.newest.seq {
		return x.open
	}
	if i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].Seq > seq }); i > 0 {
		return int64(x.entries[i-1].Off)
	}
	return start
}

// skip returns the first offset at or after off where a stretch begins that may hold something for queue. An offset
// within a stretch is returned as it is.
func (x *blockIndex) skip(off int64, queue uint32) int64 {
	i := sort.Search(len(x.entries), func(i int) bool { return int64(x.entries[i].Off) >= off })
	for ; i < len(x.entries) && int64(x.entries[i].Off) == off; i++ {
		if _, ok := slices.BinarySearch(x.unions[x.entries[i].Union], queue); ok {
			return off
		}
		off = x.open
		if i+1 < len(x.entries) {
			off = int64(x.entries[i+1].Off)
		}
	}
	return off
}

// A segment is one file of the log. Guarded by segmentLog.mu where it says so; the rest never changes.
type segment struct {
	path   string
	serial uint64
	first  uint64
	start  int64  // of the first block: the length of the header
	seed   uint32 // of its checksums
	header *segmentHeader

	segmentState // guarded by segmentLog.mu

	ops      *ops        // those of the log
	headless bool        // the header is destroyed: what it said is not known
	soft     atomic.Bool // what cannot be read of it counts as damage, until that is mended
	dead     deadPages   // what could not be read while it was soft
	gone     atomic.Bool // released: what a read of it returns means nothing
	fileMu   sync.Mutex
	file     *os.File // opened when first needed; guarded by fileMu
	closed   bool     // guarded by fileMu
}

// A segmentState is what changes while a segment is active and when it is sealed.
type segmentState struct {
	end       uint64 // the seq after the last
	size      int64  // of header and blocks; all of it is synced
	allocated int64  // of disk, as far as we know
	index     blockIndex
	items     int64
	bytes     int64        // of bodies
	queues    []queueTally // by number; replaced, never changed in place; nil where there are items: not known
	keys      int64        // items with an idempotency key
	lastTime  int64
	sealed    bool
	keysFile  bool // its .keys is there and durable

	found    []foundBlock // in place of the chain, where that is damaged; nil: it is not. Replaced, never changed
	foundEnd int64        // the chain goes on here
	mended   int          // how often found was made
}

// A Segment is a file of the log as an operator sees it: it covers the seqs First ≤ seq < End.
type Segment struct {
	Serial     uint64
	First, End uint64
	Bytes      int64 // of disk
	Sealed     bool
	Owed       bool  // some queue still needs it; a sealed segment that is not owed is free, and may be kept all the same
	Rows       int   // rows that point into it
	Owes       Tally // at most so much of it is still owed, by the stream or by rows; zero once it is not Owed
	Newest     int64 // ms since 1970: the Time of its last item; where it has none, of the item before it
}

func segmentName(serial, first uint64) string { return fmt.Sprintf("%08d-%016d", serial, first) }

func (l *segmentLog) newSegment(h *segmentHeader, length int64) *segment {
	g := &segment{
		ops:    &l.ops,
		path:   filepath.Join(l.dir, segmentName(h.Serial, h.First)+".log"),
		serial: h.Serial,
		first:  h.First,
		start:  length,
		seed:   segmentSeed(h.UUID, h.Serial),
		header: h,
		segmentState: segmentState{
			end:      h.First,
			size:     length,
			lastTime: h.IDTime,
			index:    blockIndex{open: length},
		},
	}
	g.soft.Store(l.opts.GiveUp)
	return g
}

// due is the lowest seq that a segment must have. It may begin with a gap, of seqs that were left out.
func (g *segment) due() uint64 {
	if g.header.KeptFirst != 0 {
		return g.header.KeptFirst
	}
	return max(g.first, g.header.Highest+1)
}

// open returns the file, which stays open until close.
func (g *segment) open() (*os.File, error) {
	g.fileMu.Lock()
	defer g.fileMu.Unlock()
	if g.closed {
		return nil, os.ErrClosed
	}
	if g.file == nil {
		f, err := os.OpenFile(g.path, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		g.file = f
	}
	return g.file, nil
}

func (g *segment) close() error {
	g.fileMu.Lock()
	defer g.fileMu.Unlock()
	g.closed = true
	if g.file == nil {
		return nil
	}
	err := g.file.Close()
	g.file = nil
	return err
}

// named lets an error of a file tell the segment's name: an open file keeps the one that it was made with, the spare's.
func (g *segment) named(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		p.Path = g.path
	}
	return err
}

func (g *segment) keysPath() string { return g.path[:len(g.path)-len(".log")] + ".keys" }

func (g *segment) damage(off int64, what error) error {
	return &DamageError{Path: g.path, Offset: off, What: what.Error()}
}
