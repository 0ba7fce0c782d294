package store

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"strings"
)

const readBytes = 256 << 10 // a reader takes so much of a segment at a time

// A blockReader reads the blocks of one segment.
type blockReader struct {
	pager
	decoder
	seed uint32 // of the segment
}

func newBlockReader(g *segment, f *os.File, size int64, step int) *blockReader {
	return &blockReader{pager: pager{file: f, ops: g.ops, soft: g.soft.Load(), dead: &g.dead, size: size, step: step}, seed: g.seed}
}

// block checks the header and the tables of the block at off.
func (r *blockReader) block(off int64) (blockHeader, error) {
	b, err := r.at(off, headerCost)
	if err != nil {
		return blockHeader{}, err
	}
	h, err := parseBlock(b, blockMagic)
	if err != nil {
		return h, err
	}
	if b, err = r.at(off, h.headerLen()); err != nil {
		return h, err
	}
	if err := checkBlock(b, &h, blockSeed(r.seed, off)); err != nil {
		return h, err
	}
	if off+int64(h.size()) > r.size {
		return h, io.ErrUnexpectedEOF
	}
	return h, r.tables(&h, b[blockFixed:blockFixed+int(h.Tables)])
}

// itemsOf checks the items of the block at off, whose header was read last. bad is the offset of an item that does not
// check.
func (r *blockReader) itemsOf(h *blockHeader, off int64) (items []Item, bad int64, err error) {
	b, err := r.at(off, h.size())
	if err != nil {
		return nil, off, err
	}
	start, seed := h.headerLen(), blockSeed(r.seed, off)
	plain, at, err := r.plain(h, b[start:start+int(h.ItemsLen)], seed)
	if err != nil {
		return nil, off + int64(start+at), err
	}
	items, at, err = r.items(h, plain, seed)
	return items, off + int64(start+r.storedAt(h, at)), err
}

// A Reader reads one queue's stream from the log. It skips, by index, what holds nothing for the queue. Not safe for
// concurrent use.
type Reader struct {
	log   *segmentLog
	queue uint32
	at    uint64   // everything below was returned
	from  uint64   // where the log is read
	ahead *Block   // read, and not returned yet
	seg   *segment // nil: to be found again
	off   int64
	block *blockReader

	salvaged salvagedBlock // the block of a damaged segment that it is in
}

// Reader returns a reader of a queue's items at or above from. It needs no closing.
func (s *Store) Reader(queue uint32, from uint64) *Reader { return s.log.reader(queue, from) }

func (l *segmentLog) reader(queue uint32, from uint64) *Reader {
	return &Reader{log: l, queue: queue, at: from, from: from}
}

// Seek lets Next go on at from.
func (r *Reader) Seek(from uint64) {
	r.at, r.from, r.ahead, r.seg, r.salvaged = from, from, nil, nil, salvagedBlock{}
}

// Next returns the next block that has an item at or above where the reader is, and an item for its queue. Items of
// other queues may be in it, and items below. Where items are lost that were for the queue, a block of tombstones stands
// for them. io.EOF: all that is durable was read; call again later.
//
// Damage that it meets is dealt with, if Options.Quarantine is set; else a *DamageError names the file and the byte, and
// Next returns it again until Seek.
func (r *Reader) Next() (*Block, error) {
	b, end := r.ahead, uint64(math.MaxUint64)
	r.ahead = nil
	var err error
	if b == nil {
		if b, err = r.next(); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if b != nil {
		end = b.First
	}
	if t := r.log.tombstones(r.queue, r.at, end); t != nil {
		r.ahead, b, err = b, t, nil
	}
	if b != nil {
		r.at = max(r.at, b.First+uint64(len(b.Items)))
	}
	return b, err
}

// next returns the next block that is there.
func (r *Reader) next() (*Block, error) {
	for tries := 0; ; {
		if r.seg == nil {
			if err := r.enter(); err != nil {
				return nil, err
			}
		}
		v := r.log.view(r.seg)
		b, err := r.step(&v)
		switch {
		case errors.Is(err, errEnd) && v.last:
			return nil, io.EOF
		case errors.Is(err, errEnd), err != nil && r.seg.gone.Load():
			r.from, r.seg = max(r.from, v.end), nil
		case r.log.mends(err, tries):
			tries++
			if err := r.log.mend(&v, err); err != nil {
				return nil, err
			}
			r.seg = nil
		case err != nil:
			return nil, err
		case b != nil:
			return b, nil
		}
	}
}

// mendsMost is how often one call mends a segment: what does not read the same twice is the disk's.
const mendsMost = 3

// mends reports whether an error is damage that is to be dealt with.
func (l *segmentLog) mends(err error, tries int) bool {
	return l.treat != nil && tries < mendsMost && isDamage(err)
}

// errEnd says that a segment is read to its end.
var errEnd = errors.New("the end of the segment")

// step reads one block of a segment and moves behind it. nil: there is nothing for the queue in it.
func (r *Reader) step(v *view) (*Block, error) {
	r.block.size, r.block.soft = v.size, r.seg.soft.Load()
	if b := v.foundAt(r.from); b != nil {
		return r.salvage(v, b)
	}
	r.off = v.index.skip(max(r.off, v.foundEnd), r.queue)
	if r.off >= v.size {
		return nil, errEnd
	}
	return r.read()
}

// enter opens the segment where the reader is.
func (r *Reader) enter() error {
	for {
		g := r.log.locate(r.from)
		if g == nil {
			return io.EOF
		}
		f, err := g.open()
		if err == nil {
			v := r.log.view(g)
			r.seg, r.off = g, v.index.find(r.from, g.start)
			r.block = newBlockReader(g, f, v.size, readBytes)
			return nil
		}
		if !g.gone.Load() {
			return err
		}
		r.from = max(r.from, r.log.view(g).end)
	}
}

// read reads one block of the chain, or takes what another reader has read, and moves behind it. nil: there is nothing for
// the queue in it.
func (r *Reader) read() (*Block, error) {
	at := blockPlace{r.seg, r.off}
	if b, ok := r.log.recent.at(at); ok {
		return r.pass(b), nil
	}
	h, err := r.block.block(r.off)
	if err != nil {
		return nil, readError(r.seg, r.off, err)
	}
	if h.end() <= r.from || !r.block.wants(r.queue) {
		r.off += int64(h.size())
		return nil, nil
	}
	items, bad, err := r.block.itemsOf(&h, r.off)
	if err != nil {
		return nil, readError(r.seg, bad, err)
	}
	b := recentBlock{
		block: &Block{h.First, h.Group, h.QueueTime, r.block.masks, items, r.block.plainSize(&h)},
		size:  int64(h.size()),
	}
	r.log.recent.add(at, b)
	return r.pass(b), nil
}

// pass moves behind a block. nil: there is nothing for the queue in it.
func (r *Reader) pass(b recentBlock) *Block {
	r.off += b.size
	end := b.block.First + uint64(len(b.block.Items))
	if end <= r.from || !anyHas(b.block.Masks, r.queue) {
		return nil
	}
	r.from = end
	return b.block
}

// A salvagedBlock is what checks of a block, so that it is looked through once and not for each part of it.
type salvagedBlock struct {
	seg    *segment
	off    int64
	mended int // of the view
	wanted bool
	items  []Item
	masks  []*Mask
	size   int
}

// salvage returns the next items of a block of a damaged segment that stand together. nil: there is nothing more for the
// queue in it.
func (r *Reader) salvage(v *view, b *foundBlock) (*Block, error) {
	s := &r.salvaged
	if s.seg != r.seg || s.off != b.off || s.mended != v.mended {
		wanted, items, err := r.block.salvaged(v, b, func() bool { return r.block.wants(r.queue) }, r.log.record().lost)
		if err != nil {
			return nil, err
		}
		*s = salvagedBlock{r.seg, b.off, v.mended, wanted, items, r.block.masks, r.block.plainSize(&b.blockHeader)}
	}
	items := s.items
	for len(items) > 0 && items[0].Seq < r.from {
		items = items[1:]
	}
	if !s.wanted || len(items) == 0 {
		r.from, r.salvaged = b.end(), salvagedBlock{}
		return nil, nil
	}
	n := 1
	for n < len(items) && items[n].Seq == items[n-1].Seq+1 {
		n++
	}
	r.from = items[n-1].Seq + 1
	return &Block{items[0].Seq, b.Group, b.QueueTime, s.masks, items[:n:n], s.size}, nil
}

// readError tells damage from a disk that did not answer.
func readError(g *segment, off int64, err error) error {
	for _, what := range []error{errNoBlock, errHeader, errTables, errCodec, errFrame, errItem, errLayout, errLength} {
		if errors.Is(err, what) {
			return g.damage(off, what)
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return g.damage(off, errors.New("the block is cut short"))
	}
	return err
}

// Item returns an item as a queue has it: edited for that queue, evacuated, or from the log. It is a copy, and keeps no
// buffer alive. ErrNotFound: never given. ErrReleased: no longer kept. ErrLost: it is damaged or missing, or was and was told
// as that; then the item has its Mask, and its Time if what is left near it tells that beyond doubt, else 0. Damage is dealt
// with as by a Reader.
func (s *Store) Item(queue uint32, seq uint64) (Item, error) {
	it, ok, err := s.queues.body(queue, seq)
	if err != nil || ok {
		return it, err
	}
	return s.log.item(seq)
}

func (l *segmentLog) item(seq uint64) (Item, error) {
	for tries := 0; ; tries++ {
		if it, lost := l.lostItem(seq); lost {
			it.Time = l.lostTime(seq)
			return it, ErrLost
		}
		if seq == 0 || seq >= l.synced() {
			return Item{}, ErrNotFound
		}
		g := l.locate(seq)
		if g == nil || seq < g.first {
			return Item{}, ErrReleased
		}
		v := l.view(g)
		it, err := l.itemIn(&v, seq)
		if err != nil && g.gone.Load() {
			return Item{}, ErrReleased
		}
		if errors.Is(err, ErrNotFound) && tries == 0 {
			continue // another reader may just have found that it is lost
		}
		if !l.mends(err, tries) {
			return it, err
		}
		if err := l.mend(&v, err); err != nil {
			return Item{}, err
		}
	}
}

func (l *segmentLog) itemIn(v *view, seq uint64) (Item, error) {
	g := v.seg
	f, err := g.open()
	if err != nil {
		return Item{}, err
	}
	r := newBlockReader(g, f, v.size, indexSpan)
	if b := v.foundAt(seq); b != nil {
		return r.salvagedItem(v, b, seq, l.record().lost)
	}
	for off := max(v.index.find(seq, g.start), v.foundEnd); off < v.size; {
		h, err := r.block(off)
		if err != nil {
			return Item{}, readError(g, off, err)
		}
		if seq < h.First {
			break
		}
		if seq < h.end() {
			return r.oneItem(g, &h, off, int(seq-h.First))
		}
		off += int64(h.size())
	}
	return Item{}, ErrNotFound
}

// oneItem checks one item of the block at off, and walks over those before it.
func (r *blockReader) oneItem(g *segment, h *blockHeader, off int64, index int) (Item, error) {
	b, err := r.at(off, h.size())
	if err != nil {
		return Item{}, readError(g, off, err)
	}
	start, seed := h.headerLen(), blockSeed(r.seed, off)
	plain, _, bad := r.plain(h, b[start:start+int(h.ItemsLen)], seed) // what is bad of it may be behind the item
	rest := plain
	for i := 0; ; i++ {
		payload, after, err := cutItem(rest, seed)
		var it Item
		if err == nil && i == index {
			err = r.item(&it, h, payload, i)
		}
		if err != nil {
			return Item{}, readError(g, off+int64(start+r.storedAt(h, len(plain)-len(rest))), cmpError(bad, err))
		}
		if i == index {
			return cloneItem(it), nil
		}
		rest = after
	}
}

// cloneItem copies what points into a buffer.
func cloneItem(it Item) Item {
	it.Attrs = Attrs(strings.Clone(string(it.Attrs)))
	it.Key = strings.Clone(it.Key)
	it.Body = bytes.Clone(it.Body)
	if it.Dedupe != nil {
		it.Dedupe = new(*it.Dedupe)
	}
	return it
}
