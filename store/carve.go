package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"syscall"
)

// Carving takes out of a damaged queues.db whatever checks by itself: every value has its own checksum, so no link and
// no count is trusted, and what is read is bounded by the size of the file. It is done without bbolt.
//
// bbolt copies pages when they change, so older versions of most entries stand on free pages. Which version counts:
//
//   - What the tree of the newest meta page leads to, and else what stands on a page that the freelist does not call
//     free, is current; a page belongs where its header says. A damaged page leaves those before and behind it, and those below it, as certain as they were.
//   - A queue's counts tell how many entries it had: so whether anything of it was lost is known exactly. If nothing was,
//     only what is current counts.
//   - Else older versions of what stays true once it was written fill in: cursors, marks, gone ranges. So do holes, and
//     what meta/state says of the log. But not where the tree may be an older one than theirs: a delivery that left the
//     stream since would be settled there, and its row not be known.
//   - A row or a body of a free page is stale: it may have been settled since. It counts only where the current one may
//     have been lost, and then its delivery is repeated.
type rank uint8

const (
	stale  rank = iota + 1 // on a page that is free, or of which nothing says that it is in use
	inUse                  // on a page that is not free
	linked                 // on a page that the tree leads to
)

// ranked is something carved with how far it is to be trusted.
type ranked[T any] struct {
	rank rank
	v    T
}

func (r ranked[T]) current() bool { return r.rank >= inUse }

// better reports whether something of a rank replaces this.
func (r ranked[T]) better(than rank) bool { return than > r.rank }

// A bodyPlace is the key of a body: queue 0 is all.
type bodyPlace struct {
	seq   uint64
	queue uint32
}

// A bodyRef says where the value of a body stands in the damaged file.
type bodyRef struct{ at, size int64 }

// carved is everything that was found to check.
type carved struct {
	formats map[uint32]bool
	uuid    ranked[[16]byte]
	state   metaState         // the farthest of each
	books   ranked[metaState] // as it counts the entries of the buckets
	holes   []hole            // of all versions
	holed   rank              // of the best one
	damage  ranked[damageRecord]
	wall    wallPair // the latest
	sinks   map[string]ranked[Sink]
	acks    map[uint64]ranked[int64] // times
	bodies  map[bodyPlace]ranked[bodyRef]
	queues  map[uint32]*carvedQueue
	bad     []uint64 // pages in use that do not check, ascending
	refused error    // the first that the disk did not give of the file; nil: it gave all
}

// A carvedQueue is what was found of one queue's bucket.
type carvedQueue struct {
	cursor  ranked[uint64]
	counts  ranked[carvedCounts]
	marks   map[uint64]ranked[[]byte] // by chunk; the union of all versions, with the best rank
	gone    map[uint64]ranked[Gone]
	rows    map[uint64]ranked[Row]
	highest uint64
}

type carvedCounts struct {
	Counts
	entries uint64
}

func newCarvedQueue() *carvedQueue {
	return &carvedQueue{marks: map[uint64]ranked[[]byte]{}, gone: map[uint64]ranked[Gone]{}, rows: map[uint64]ranked[Row]{}}
}

// entries counts the current ones, as the queue's counts do: without the counts, with the index.
func (q *carvedQueue) entries() uint64 {
	var n uint64
	if q.cursor.current() {
		n++
	}
	for _, m := range q.marks {
		if m.current() {
			n++
		}
	}
	for _, g := range q.gone {
		if g.current() {
			n++
		}
	}
	for _, r := range q.rows {
		if r.current() {
			n += 1 + uint64(len(rowIndex(&r.v)))
		}
	}
	return n
}

// whole reports whether nothing of the queue was lost.
func (q *carvedQueue) whole() bool {
	return q.cursor.current() && q.counts.current() && q.counts.v.entries == q.entries()
}

// A carver reads one damaged file.
type carver struct {
	r       io.ReaderAt
	size    int64
	page    int64
	pages   uint64 // that the file has, one that is cut too
	budget  int64  // how much more this pass may read of values that do not lie in their page
	numbers []uint32
	tree    *carveTree
	free    pageSet
	known   bool // what is free is known
	out     *carved
}

// carve reads the file at path. numbers are those of queues that may be in it. A file that is not there is as one in
// which nothing checks.
func carve(path string, numbers []uint32) (*carved, *carveTree, error) {
	return carveWith(path, numbers, diskOps())
}

func carveWith(path string, numbers []uint32, disk ops) (*carved, *carveTree, error) {
	out := &carved{formats: map[uint32]bool{}, sinks: map[string]ranked[Sink]{}, acks: map[uint64]ranked[int64]{},
		bodies: map[bodyPlace]ranked[bodyRef]{}, queues: map[uint32]*carvedQueue{}}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return out, &carveTree{}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	file := &refusals{file: f, ops: &disk}
	c := &carver{r: file, size: fi.Size(), numbers: numbers, out: out}
	c.refill()
	c.findRoot()
	c.walk()
	c.each(c.first) // names the queues, whose numbers the others need
	c.each(c.second)
	out.bad, out.refused = c.tree.badPages(), file.err
	return out, c.tree, nil
}

// refusals is a file, and the first error of the disk that reading it met.
type refusals struct {
	file *os.File
	ops  *ops
	err  error
}

func (r *refusals) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.ops.pread(r.file, b, off)
	if errors.Is(err, syscall.EIO) && r.err == nil {
		r.err = err
	}
	return n, err
}

// read returns a page, or what the file has of it; nil where the disk does not give it.
func (c *carver) read(id uint64) []byte {
	off := int64(id) * c.page
	if off < 0 || off >= c.size {
		return nil
	}
	b := make([]byte, min(c.page, c.size-off))
	if n, err := c.r.ReadAt(b, off); err != nil && n < len(b) {
		return nil
	}
	return b
}

// A pageHead is the header of a page: see pages.go.
type pageHead struct {
	id       uint64
	flags    uint16
	count    int
	overflow uint64
}

func headOf(b []byte) pageHead {
	if len(b) < boltPageHeader {
		return pageHead{id: ^uint64(0)}
	}
	order := binary.NativeEndian
	return pageHead{order.Uint64(b), order.Uint16(b[8:]), int(order.Uint16(b[10:])), uint64(order.Uint32(b[12:]))}
}

// is reports whether the header is that of page id.
func (h pageHead) is(id uint64) bool {
	return h.id == id && (h.flags == pageLeaf || h.flags == pageBranch || h.flags == pageFreelist)
}

// rankOf says how far the entries of a page are to be trusted.
func (c *carver) rankOf(id uint64) rank {
	switch {
	case c.tree.linked.has(id):
		return linked
	case c.tree.doubtful.has(id):
		return stale
	case c.known && id < c.tree.meta.pages && !c.free.has(id):
		return inUse
	}
	return stale
}

// rankAt is rankOf for what stands at a place. A page that says that it is another one is that, if it is missing where it
// belongs: two pages were swapped. Else it is not known what it is.
func (c *carver) rankAt(id uint64, h pageHead) rank {
	switch {
	case h.id == id:
		return c.rankOf(id)
	case h.id >= c.pages || headOf(c.read(h.id)).id == h.id:
		return stale
	}
	return min(c.rankOf(h.id), inUse)
}

// An entry is what may be one: a key, its value, and where that stands in the file.
type entry struct {
	key, value []byte
	at         int64
	number     int64 // the queue that the bucket around it says; -1: not known
	rank       rank
}

// each visits what may be an entry of any page.
func (c *carver) each(visit func(entry)) {
	c.refill()
	for id := uint64(2); id < c.pages; {
		b := c.read(id)
		h := headOf(b)
		if b != nil {
			c.leafEntries(b, int64(id)*c.page, c.size-int64(id)*c.page, -1, c.rankAt(id, h), visit)
		}
		id = c.after(id, h, b)
	}
}

// Bounds of what may be a key, and a value: longer ones are garbage.
const carveKey, carveValue = sinkNameMost, 64 << 20

// leafEntries visits what may be an element of the leaf at the front of b, which stands at off and may go on for limit
// bytes. How many there are is not believed: what is none does not check.
func (c *carver) leafEntries(b []byte, off, limit, number int64, rk rank, visit func(entry)) {
	for at := int64(boltPageHeader); at+pageElement <= int64(len(b)); at += pageElement {
		flags, key, value, valueAt, ok := c.element(b, off, limit, at)
		switch {
		case !ok:
		case flags == 0:
			visit(entry{key, value, off + valueAt, number, rk})
		default:
			c.inline(key, value, off+valueAt, rk, visit)
		}
	}
}

// inline visits the entries of a bucket that stands in its parent.
func (c *carver) inline(key, value []byte, at int64, rk rank, visit func(entry)) {
	if len(value) < 16+boltPageHeader || binary.NativeEndian.Uint64(value) != 0 {
		return
	}
	number := int64(0)
	if len(key) == 4 && !bytes.Equal(key, bucketMeta) && !bytes.Equal(key, bucketAcks) {
		number = int64(binary.BigEndian.Uint32(key))
	}
	c.leafEntries(value[16:], at+16, int64(len(value)-16), number, rk, visit)
}

// element reads the element at an offset of a leaf. ok: it lies where it may.
func (c *carver) element(b []byte, off, limit, at int64) (flags uint32, key, value []byte, valueAt int64, ok bool) {
	order := binary.NativeEndian
	e := b[at : at+pageElement]
	flags, pos := order.Uint32(e), int64(order.Uint32(e[4:]))
	ksize, vsize := int64(order.Uint32(e[8:])), int64(order.Uint32(e[12:]))
	start := at + pos
	end := start + ksize + vsize
	if flags > 1 || pos < pageElement || ksize == 0 || ksize > carveKey || vsize > carveValue || end > limit {
		return 0, nil, nil, 0, false
	}
	data := b
	if end > int64(len(b)) {
		if c.budget -= end - start; c.budget < 0 {
			return 0, nil, nil, 0, false
		}
		data = make([]byte, end-start)
		if _, err := c.r.ReadAt(data, off+start); err != nil {
			return 0, nil, nil, 0, false
		}
		return flags, data[:ksize], data[ksize:], start + ksize, true
	}
	return flags, data[start : start+ksize], data[start+ksize : end], start + ksize, true
}

// queue returns what was found of a queue, to be added to.
func (o *carved) queue(number uint32) *carvedQueue {
	q := o.queues[number]
	if q == nil {
		q = newCarvedQueue()
		o.queues[number] = q
	}
	return q
}

// checkFormats refuses what says that it is of another format.
func (o *carved) checkFormats(path string) error {
	for found := range o.formats {
		if found != queuesFormat {
			return &FormatError{Path: path, Found: found, Know: queuesFormat}
		}
	}
	return nil
}
