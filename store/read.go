package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
)

const readBytes = 256 << 10 // a reader takes so much of a segment at a time

// A pager reads a file forwards, in steps of at least step bytes. Each buffer is a fresh one, as blocks point into it.
type pager struct {
	file *os.File
	size int64 // nothing is read at or past it
	step int
	buf  []byte
	off  int64 // of buf[0]
}

// at returns the bytes at off, n at least. io.ErrUnexpectedEOF: the file has no n bytes there.
func (p *pager) at(off int64, n int) ([]byte, error) {
	if skip := off - p.off; skip >= 0 && skip+int64(n) <= int64(len(p.buf)) {
		return p.buf[skip:], nil
	}
	if off+int64(n) > p.size {
		return nil, io.ErrUnexpectedEOF
	}
	b := make([]byte, min(int64(max(n, p.step)), p.size-off))
	if _, err := p.file.ReadAt(b, off); err != nil {
		return nil, err
	}
	p.buf, p.off = b, off
	return b, nil
}

// A blockReader reads the blocks of one segment.
type blockReader struct {
	pager
	decoder
	seed uint32 // of the segment
}

func newBlockReader(g *segment, f *os.File, size int64, step int) *blockReader {
	return &blockReader{pager: pager{file: f, size: size, step: step}, seed: g.seed}
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
	from  uint64
	seg   *segment // nil: to be found again
	off   int64
	block *blockReader
}

// Reader returns a reader of a queue's items at or above from. It needs no closing.
func (s *Store) Reader(queue uint32, from uint64) *Reader { return s.log.reader(queue, from) }

func (l *segmentLog) reader(queue uint32, from uint64) *Reader {
	return &Reader{log: l, queue: queue, from: from}
}

// Seek lets Next go on at from.
func (r *Reader) Seek(from uint64) { r.from, r.seg = from, nil }

// Next returns the next block that has an item at or above where the reader is, and an item for its queue. Items of
// other queues may be in it, and items below. io.EOF: all that is durable was read; call again later. A *DamageError
// names the file and the byte; Next returns it again until Seek.
func (r *Reader) Next() (*Block, error) {
	for {
		if r.seg == nil {
			if err := r.enter(); err != nil {
				return nil, err
			}
		}
		v := r.log.view(r.seg)
		r.block.size = v.size
		r.off = v.index.skip(r.off, r.queue)
		if r.off >= v.size {
			if v.last {
				return nil, io.EOF
			}
			r.Seek(max(r.from, v.end))
			continue
		}
		b, err := r.read()
		switch {
		case err != nil && r.seg.gone.Load():
			r.Seek(max(r.from, v.end))
		case err != nil:
			return nil, err
		case b != nil:
			return b, nil
		}
	}
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

// read reads one block and moves behind it. nil: there is nothing for the queue in it.
func (r *Reader) read() (*Block, error) {
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
	r.off += int64(h.size())
	r.from = h.end()
	return &Block{h.First, h.Group, h.QueueTime, r.block.masks, items, r.block.plainSize(&h)}, nil
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
// buffer alive. ErrNotFound: never given. ErrReleased: no longer kept. A *DamageError: it does not check.
func (s *Store) Item(queue uint32, seq uint64) (Item, error) {
	it, ok, err := s.queues.body(queue, seq)
	if err != nil || ok {
		return it, err
	}
	return s.log.item(seq)
}

func (l *segmentLog) item(seq uint64) (Item, error) {
	if seq == 0 || seq >= l.synced() {
		return Item{}, ErrNotFound
	}
	g := l.locate(seq)
	if g == nil || seq < g.first {
		return Item{}, ErrReleased
	}
	it, err := l.itemIn(g, seq)
	if err != nil && g.gone.Load() {
		return Item{}, ErrReleased
	}
	return it, err
}

func (l *segmentLog) itemIn(g *segment, seq uint64) (Item, error) {
	f, err := g.open()
	if err != nil {
		return Item{}, err
	}
	v := l.view(g)
	r := newBlockReader(g, f, v.size, indexSpan)
	for off := v.index.find(seq, g.start); off < v.size; {
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
