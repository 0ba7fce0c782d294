package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// bbolt trusts what it reads: a damaged page can send it round in circles, out of its map, or let it give a page in
// use to somebody else. So before it opens a file, checkPages walks the tree that the newest meta page leads to, and
// the freelist: each page is visited at most once, which bounds it by the size of the file.
//
//	branch element (16 bytes): u32 pos | u32 key length | u64 page
//	leaf element   (16 bytes): u32 flags: 1 bucket | u32 pos | u32 key length | u32 value length
//	bucket value: u64 root page, 0: the page follows inline | u64 sequence
//
// pos counts from the element's own start.
const (
	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageFreelist = 0x10

	pageElement  = 16
	pageDepth    = 64      // no tree of ours is as deep
	pageReadOnce = 1 << 18 // bytes of a run of pages that are read at once
)

type pageWalk struct {
	r        io.ReaderAt
	pageSize int64
	pages    uint64   // all ids are below it
	seen     []uint64 // bit set of the pages that belong to somebody
}

// A pageError says which page is not what it should be.
type pageError struct {
	id   uint64
	what string
}

func (e *pageError) Error() string { return fmt.Sprintf("page %d: %s", e.id, e.what) }

// checkPages returns a *pageError for the first thing that is wrong, and reading errors as they are.
func checkPages(r io.ReaderAt, size int64, m boltMeta) error {
	w := &pageWalk{r: r, pageSize: int64(m.pageSize), pages: m.pages}
	if m.pages < 2 || m.pages > uint64(size/w.pageSize) {
		return &pageError{0, fmt.Sprintf("%d pages in a file of %d bytes", m.pages, size)}
	}
	w.seen = make([]uint64, m.pages/64+1)
	w.seen[0] = 3 // the meta pages
	if err := w.tree(m.root, nil, nil, 0); err != nil {
		return err
	}
	return w.freelist(m.freelist)
}

// claim marks n pages as somebody's.
func (w *pageWalk) claim(id, n uint64) error {
	if id >= w.pages || n > w.pages-id {
		return &pageError{id, "it is beyond the last page"}
	}
	for i := id; i < id+n; i++ {
		if w.seen[i/64]&(1<<(i%64)) != 0 {
			return &pageError{i, "it is used twice"}
		}
		w.seen[i/64] |= 1 << (i % 64)
	}
	return nil
}

// A pageRun is a page with its overflow pages, read as far as needed.
type pageRun struct {
	id    uint64
	flags uint16
	count int
	size  int64  // bytes of the whole run
	head  []byte // its beginning
	off   int64  // in the file
	r     io.ReaderAt
}

func (w *pageWalk) run(id uint64) (*pageRun, error) {
	if id >= w.pages {
		return nil, &pageError{id, "it is beyond the last page"}
	}
	p := &pageRun{id: id, off: int64(id) * w.pageSize, r: w.r}
	head := make([]byte, w.pageSize)
	if _, err := w.r.ReadAt(head, p.off); err != nil {
		return nil, err
	}
	order := binary.NativeEndian
	if order.Uint64(head) != id {
		return nil, &pageError{id, "it says that it is another page"}
	}
	p.flags, p.count = order.Uint16(head[8:]), int(order.Uint16(head[10:]))
	n := uint64(order.Uint32(head[12:])) + 1
	if err := w.claim(id, n); err != nil {
		return nil, err
	}
	p.size = int64(n) * w.pageSize
	p.head = head
	if n > 1 {
		p.head = make([]byte, min(p.size, pageReadOnce))
		if _, err := w.r.ReadAt(p.head, p.off); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// bytes returns n bytes of the run from off on.
func (p *pageRun) bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off+n > p.size {
		return nil, &pageError{p.id, "something in it ends outside of it"}
	}
	if off+n <= int64(len(p.head)) {
		return p.head[off : off+n], nil
	}
	b := make([]byte, n)
	if p.r == nil {
		return nil, &pageError{p.id, "something in it ends outside of it"}
	}
	_, err := p.r.ReadAt(b, p.off+off)
	return b, err
}

// tree checks the pages below id, whose keys lie from low up to but without high (nil: no bound).
func (w *pageWalk) tree(id uint64, low, high []byte, depth int) error {
	if depth > pageDepth {
		return &pageError{id, "the tree is too deep"}
	}
	p, err := w.run(id)
	if err != nil {
		return err
	}
	switch p.flags {
	case pageLeaf:
		return w.leaf(p, low, high, depth)
	case pageBranch:
		return w.branch(p, low, high, depth)
	}
	return &pageError{id, "it is neither a branch nor a leaf"}
}

func (w *pageWalk) branch(p *pageRun, low, high []byte, depth int) error {
	if p.count == 0 {
		return &pageError{p.id, "a branch without leaves"}
	}
	keys := make([][]byte, p.count+1)
	children := make([]uint64, p.count)
	for i := range p.count {
		at := int64(boltPageHeader + i*pageElement)
		e, err := p.bytes(at, pageElement)
		if err != nil {
			return err
		}
		order := binary.NativeEndian
		children[i] = order.Uint64(e[8:])
		if keys[i], err = p.bytes(at+int64(order.Uint32(e)), int64(order.Uint32(e[4:]))); err != nil {
			return err
		}
	}
	keys[p.count] = high
	for i, child := range children {
		if !inOrder(keys[i], low, keys[i+1]) {
			return &pageError{p.id, "its keys are out of order"}
		}
		if err := w.tree(child, keys[i], keys[i+1], depth+1); err != nil {
			return err
		}
		low = keys[i]
	}
	return nil
}

func (w *pageWalk) leaf(p *pageRun, low, high []byte, depth int) error {
	for i := range p.count {
		at := int64(boltPageHeader + i*pageElement)
		e, err := p.bytes(at, pageElement)
		if err != nil {
			return err
		}
		order := binary.NativeEndian
		flags, pos, ksize, vsize := order.Uint32(e), int64(order.Uint32(e[4:])), int64(order.Uint32(e[8:])), int64(order.Uint32(e[12:]))
		key, err := p.bytes(at+pos, ksize)
		if err != nil {
			return err
		}
		if at+pos+ksize+vsize > p.size || flags > 1 || at+pos < int64(boltPageHeader+p.count*pageElement) {
			return &pageError{p.id, "an entry does not lie in it"}
		}
		if len(key) == 0 || !inOrder(key, low, high) || i > 0 && bytes.Equal(key, low) {
			return &pageError{p.id, "its keys are out of order"}
		}
		low = key
		if flags == 1 {
			if err := w.bucket(p, at+pos+ksize, vsize, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func inOrder(key, low, high []byte) bool {
	return bytes.Compare(key, low) >= 0 && (high == nil || bytes.Compare(key, high) < 0)
}

// bucket checks a bucket inside of a leaf: a root page of its own, or a leaf that stands in the value.
func (w *pageWalk) bucket(p *pageRun, off, size int64, depth int) error {
	value, err := p.bytes(off, size)
	if err != nil {
		return err
	}
	if len(value) < 16 {
		return &pageError{p.id, "a bucket without its header"}
	}
	order := binary.NativeEndian
	if root := order.Uint64(value); root != 0 {
		return w.tree(root, nil, nil, depth+1)
	}
	inline := value[16:]
	if len(inline) < boltPageHeader || order.Uint16(inline[8:]) != pageLeaf || order.Uint32(inline[12:]) != 0 {
		return &pageError{p.id, "a bucket in it is not a leaf"}
	}
	sub := &pageRun{id: p.id, flags: pageLeaf, count: int(order.Uint16(inline[10:])), size: int64(len(inline)), head: inline}
	return w.leaf(sub, nil, nil, depth+1)
}

// freelist checks that no page is both free and in use.
func (w *pageWalk) freelist(id uint64) error {
	if id == boltNoFreelist {
		return &pageError{id, "there is no freelist"}
	}
	p, err := w.run(id)
	if err != nil {
		return err
	}
	if p.flags != pageFreelist {
		return &pageError{id, "it is not the freelist"}
	}
	count, at := int64(p.count), int64(boltPageHeader)
	if count == 0xffff {
		b, err := p.bytes(at, 8)
		if err != nil {
			return err
		}
		count, at = int64(binary.NativeEndian.Uint64(b)), at+8
	}
	if count < 0 || count > p.size/8 {
		return &pageError{id, "it is longer than its pages"}
	}
	ids, err := p.bytes(at, count*8)
	if err != nil {
		return err
	}
	for ; len(ids) > 0; ids = ids[8:] {
		if err := w.claim(binary.NativeEndian.Uint64(ids), 1); err != nil {
			return err
		}
	}
	return nil
}
