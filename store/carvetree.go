package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
)

// A pageSet is a set of pages.
type pageSet []uint64

func (s *pageSet) add(id uint64) {
	for uint64(len(*s)) <= id/64 {
		*s = append(*s, 0)
	}
	(*s)[id/64] |= 1 << (id % 64)
}

func (s pageSet) has(id uint64) bool {
	return id/64 < uint64(len(s)) && s[id/64]&(1<<(id%64)) != 0
}

// A place is a bucket: the root, one of those in it, or a queue's.
type place struct {
	depth  int
	top    string
	number uint32
}

// A brokenRange is keys of a bucket, low ≤ key < high (nil: no end), of which some entries do not check or are not there.
type brokenRange struct {
	in        place
	low, high []byte
}

// A carveTree is what the tree of a meta page leads to, and where it is broken.
type carveTree struct {
	meta     boltMeta
	rooted   bool // there is a tree; without one everything may be lost
	newest   bool // it is that of the newest commit, for certain
	linked   pageSet
	doubtful pageSet // pages that may be the inside of a damaged value
	lost     []brokenRange
	lostBody map[uint64]bool // pages where a body may have begun
	bad      map[uint64]bool
	pageSize int64
}

func (t *carveTree) badPages() []uint64 { return slices.Sorted(maps.Keys(t.bad)) }

// findRoot finds the newest tree of the file: that of the newest meta page. Where the meta pages are not what a crash
// leaves there may be a newer one, whose meta page is lost: its root page says so.
func (c *carver) findRoot() {
	report, metas, err := readMetas(c.r)
	if err != nil {
		report = MetaReport{} // the disk does not give them
	}
	c.page = int64(report.PageSize)
	if c.page == 0 {
		c.page = c.guessPageSize()
	}
	c.pages = uint64((c.size + c.page - 1) / c.page)
	c.newTree()
	for i, valid := range report.Valid {
		if valid && (!c.tree.rooted || metas[i].txid > c.tree.meta.txid) {
			c.tree.meta, c.tree.rooted = metas[i], true
		}
	}
	if c.tree.newest = report.OK(); !c.tree.newest {
		c.guessRoot()
	}
	for i, valid := range report.Valid {
		if !valid {
			c.tree.bad[uint64(i)] = true
		}
	}
}

func (c *carver) newTree() {
	c.tree = &carveTree{lostBody: map[uint64]bool{}, bad: map[uint64]bool{}, pageSize: c.page}
}

// guessPageSize takes the size at which most pages say which they are.
func (c *carver) guessPageSize() (best int64) {
	best, most := int64(4<<10), 0
	for size := int64(1 << 10); size <= 64<<10; size <<= 1 {
		n, head := 0, make([]byte, boltPageHeader)
		for id := uint64(2); int64(id)*size < c.size; id++ {
			if _, err := c.r.ReadAt(head, int64(id)*size); err == nil && headOf(head).is(id) {
				n++
			}
		}
		if n > most {
			best, most = size, n
		}
	}
	return best
}

// guessMost bounds how many trees are tried.
const guessMost = 8

// A guess is a page that looks like a root, with what it knows of the log.
type guess struct {
	id    uint64
	state metaState
}

// guessRoot looks for root pages that are newer than what a meta page leads to: meta/state, which stands inside of them,
// tells. The newest whose tree is whole is taken; without any meta page the newest one.
func (c *carver) guessRoot() {
	known, least := *c.tree, metaState{}
	if known.rooted {
		least, _ = c.rootState(known.meta.root)
	}
	var found []guess
	for id := uint64(2); id < c.pages; id++ {
		if m, ok := c.rootState(id); ok && (!known.rooted || newerState(m, least) > 0) {
			found = append(found, guess{id, m})
		}
	}
	slices.SortStableFunc(found, func(a, b guess) int { return newerState(b.state, a.state) })
	for _, g := range found[:min(len(found), guessMost)] {
		c.take(g.id)
		c.refill()
		c.follow(g.id, place{}, nil, nil, 0)
		whole := len(c.tree.lost) == 0
		c.take(g.id)
		if whole && g.state.Sinks == found[0].state.Sinks { // of what was before there were any the first commits are whole
			return
		}
	}
	if c.newTree(); known.rooted {
		*c.tree = known
	} else if len(found) > 0 {
		c.take(found[0].id)
	}
}

// take begins a tree at a root page of which no meta page tells: what is free is not known then.
func (c *carver) take(root uint64) {
	c.newTree()
	c.tree.rooted = true
	c.tree.meta = boltMeta{pageSize: uint32(c.page), root: root, freelist: boltNoFreelist, pages: c.pages}
}

func newerState(a, b metaState) int {
	return cmp.Or(cmp.Compare(a.QueueTime, b.QueueTime), cmp.Compare(a.Highest, b.Highest), cmp.Compare(a.Synced, b.Synced))
}

// rootState reads the state inside of what may be a root page.
func (c *carver) rootState(id uint64) (m metaState, ok bool) {
	b, names := c.read(id), 0
	if h := headOf(b); !h.is(id) || h.flags != pageLeaf || h.count != 5 {
		return m, false
	}
	off := int64(id) * c.page
	for i := range 5 {
		flags, key, value, _, whole := c.element(b, off, c.page, int64(boltPageHeader+i*pageElement))
		if !whole || flags != 1 {
			return m, false
		}
		for _, name := range [][]byte{bucketMeta, bucketSinks, bucketQueues, bucketBodies, bucketAcks} {
			if bytes.Equal(key, name) {
				names++
			}
		}
		if bytes.Equal(key, bucketMeta) {
			c.inline(key, value, 0, stale, func(e entry) {
				payload, err := openValue(0, e.key, e.value)
				if err != nil || !bytes.Equal(e.key, keyState) {
					return
				}
				if s, err := decodeMetaState(payload); err == nil {
					m = s
				}
			})
		}
	}
	return m, names == 5
}

// walk follows the tree as far as it holds, and reads the freelist if it does.
func (c *carver) walk() {
	if !c.tree.rooted {
		return
	}
	m := c.tree.meta
	c.tree.linked.add(0)
	c.tree.linked.add(1)
	c.refill()
	c.follow(m.root, place{}, nil, nil, 0)
	c.readFree(m)
}

// lose notes that entries of a bucket may be lost.
func (c *carver) lose(id uint64, in place, low, high []byte) {
	if id < c.pages {
		c.tree.bad[id] = true
	}
	c.tree.lost = append(c.tree.lost, brokenRange{in, bytes.Clone(low), bytes.Clone(high)})
	if in.depth == 1 && in.top == string(bucketBodies) {
		c.tree.lostBody[id] = true
	}
}

// follow walks the pages below id. Each page is somebody's at most once, which bounds it.
func (c *carver) follow(id uint64, in place, low, high []byte, depth int) {
	b := c.read(id)
	h := headOf(b)
	if b == nil || depth > pageDepth || c.tree.linked.has(id) || !h.is(id) || h.flags == pageFreelist {
		c.lose(id, in, low, high)
		return
	}
	limit := c.claim(id, h, b)
	if h.flags == pageBranch {
		c.followBranch(b, id, in, low, high, depth)
		return
	}
	c.followLeaf(b, int64(id)*c.page, limit, id, in, low, high, depth)
}

// followBranch visits the children whose keys make sense; the others' ranges are lost.
func (c *carver) followBranch(b []byte, id uint64, in place, low, high []byte, depth int) {
	order := binary.NativeEndian
	var keys [][]byte
	var children []uint64
	broken := headOf(b).count == 0
	for i := range headOf(b).count {
		at := int64(boltPageHeader + i*pageElement)
		if at+pageElement > int64(len(b)) {
			broken = true
			break
		}
		start := at + int64(order.Uint32(b[at:]))
		end := start + int64(order.Uint32(b[at+4:]))
		if end > int64(len(b)) || start > end || len(keys) > 0 && bytes.Compare(b[start:end], keys[len(keys)-1]) <= 0 {
			broken = true
			continue
		}
		keys, children = append(keys, b[start:end]), append(children, order.Uint64(b[at+8:]))
	}
	if broken {
		c.lose(id, in, low, high)
	}
	for i, child := range children {
		if child >= c.pages {
			c.tree.bad[id] = true // of which the file has none: it is this page that is wrong, or the file is cut
		}
		from, to := keys[i], high
		if i == 0 {
			from = low
		}
		if i+1 < len(keys) {
			to = keys[i+1]
		}
		c.follow(child, in, from, to, depth+1)
	}
}

// followLeaf checks the entries of a leaf, and goes into the buckets in it. Between entries that hold, what does not is
// lost.
func (c *carver) followLeaf(b []byte, off, limit int64, id uint64, in place, low, high []byte, depth int) {
	last, broken := low, false
	for i := range headOf(b).count {
		at := int64(boltPageHeader + i*pageElement)
		if at+pageElement > int64(len(b)) {
			broken = true
			break
		}
		flags, key, value, valueAt, ok := c.element(b, off, limit, at)
		if !ok || !inOrder(key, last, high) || !c.holds(flags, key, value, in) {
			broken = true
			continue
		}
		if broken {
			c.lose(id, in, last, key)
			broken = false
		}
		last = bytes.Clone(key)
		if flags == 1 {
			c.followBucket(key, value, off+valueAt, id, in, depth)
		}
	}
	if broken {
		c.lose(id, in, last, high)
	}
}

// holds reports whether an element is one that its bucket may have, with a checksum that holds.
func (c *carver) holds(flags uint32, key, value []byte, in place) bool {
	if flags == 1 {
		return in.depth == 0 || in.depth == 1 && in.top == string(bucketQueues) && len(key) == 4
	}
	if in.depth == 2 && len(key) == 17 && len(value) == 0 {
		return keyLength(key[0]) == 17
	}
	if in.depth == 2 && keyLength(key[0]) != len(key) {
		return false
	}
	_, err := openValue(in.number, key, value)
	return err == nil && in.depth > 0
}

func (c *carver) followBucket(key, value []byte, at int64, id uint64, in place, depth int) {
	sub := place{depth: in.depth + 1, top: in.top}
	if in.depth == 0 {
		sub.top = string(key)
	} else {
		sub.number = binary.BigEndian.Uint32(key)
	}
	if len(value) < 16 {
		c.lose(id, sub, nil, nil)
		return
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		if root >= c.pages {
			c.tree.bad[id] = true
		}
		c.follow(root, sub, nil, nil, depth+1)
		return
	}
	if inline := value[16:]; len(inline) >= boltPageHeader && headOf(inline).flags == pageLeaf {
		c.followLeaf(inline, at+16, int64(len(inline)), id, sub, nil, nil, depth+1)
		return
	}
	c.lose(id, sub, nil, nil)
}

// readFree reads which pages are free. A freelist that calls a page free which the tree leads to is not believed.
func (c *carver) readFree(m boltMeta) {
	if m.freelist == boltNoFreelist {
		return
	}
	w := &pageWalk{r: c.r, pageSize: c.page, pages: m.pages, seen: slices.Clone(c.tree.linked)}
	for uint64(len(w.seen)) <= m.pages/64 {
		w.seen = append(w.seen, 0)
	}
	before := slices.Clone(w.seen)
	if m.pages > uint64(1<<40)/uint64(c.page) || w.freelist(m.freelist) != nil {
		if m.freelist < c.pages {
			c.tree.bad[m.freelist] = true
		}
		return
	}
	head := headOf(c.read(m.freelist))
	for i := range w.seen {
		w.seen[i] &^= before[i]
	}
	c.free, c.known = w.seen, true
	for i := m.freelist; i <= m.freelist+head.overflow; i++ {
		c.free[i/64] &^= 1 << (i % 64)
		c.tree.linked.add(i)
	}
}

// rows returns the ranges of seqs, first ≤ seq < end, of which rows of a queue may be lost. told: pages tell that something
// of the queue is.
func (t *carveTree) rows(number uint32) (out []seqRange, told bool) {
	if !t.rooted {
		return []seqRange{everything}, true
	}
	key := queueKey(number)
	for _, l := range t.lost {
		switch {
		case l.in.depth == 0 && inOrder(bucketQueues, l.low, l.high),
			l.in.depth == 1 && l.in.top == string(bucketQueues) && inOrder(key, l.low, l.high):
			return []seqRange{everything}, true
		case l.in.depth == 2 && l.in.number == number:
			told = true
			if r := rowsWithin(l.low, l.high); r.first < r.end {
				out = append(out, r)
			}
		}
	}
	return out, told
}

// lostIn reports whether something of a bucket of the root may be lost.
func (t *carveTree) lostIn(name []byte) bool {
	return !t.rooted || slices.ContainsFunc(t.lost, func(l brokenRange) bool {
		return l.in.depth == 0 && inOrder(name, l.low, l.high) || l.in.depth == 1 && l.in.top == string(name)
	})
}
