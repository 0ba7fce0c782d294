package store

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A tornItem is an item of a torn group that checks.
type tornItem struct {
	Item
	goesOn bool // its request has one more item
}

// wholeRequests keeps the requests of which every item is there, and what is below synced: that was durable. A request of
// which the beginning is missing begins later.
func wholeRequests(items []tornItem, synced uint64) []Item {
	var kept []Item
	for i := 0; i < len(items); {
		j := i
		for items[j].goesOn && j+1 < len(items) && items[j+1].Seq == items[j].Seq+1 && items[j+1].Continues {
			j++
		}
		whole := !items[i].Continues && !items[j].goesOn
		for ; i <= j; i++ {
			if !whole && items[i].Seq >= synced {
				continue
			}
			it := items[i].Item
			it.Continues = it.Continues && len(kept) > 0 && kept[len(kept)-1].Seq+1 == it.Seq
			kept = append(kept, it)
		}
	}
	return kept
}

// A tornBlock is a block of which the header, or its copy, checks.
type tornBlock struct {
	header blockHeader
	off    int64
	seed   uint32
	tables []byte
	items  []byte // as they are stored; as much of them as the file has
}

// findBlocks reads the last group commit, and whatever stands behind the chain, and finds every block of it, by its
// header or by the copy at its end. It returns the bytes that it looked at too, from s.off on.
func (s *tailScan) findBlocks(off int64) ([]tornBlock, []byte, error) {
	g := s.seg
	n := max(off, lastNonzero(g.file, off, g.allocated)) - s.off
	if n == 0 {
		return nil, nil, nil
	}
	b := make([]byte, n+crc32.Size) // what ends here may end in a checksum that ends in zeros
	if _, err := g.file.ReadAt(b[:n], s.off); err != nil {
		return nil, nil, err
	}
	f := blockFinder{b: b, limit: int(g.allocated - s.off), base: s.off, seed: g.seed}
	for f.pos < len(f.b) {
		if !f.atHeader() {
			f.resync()
		}
	}
	return f.found, f.b, nil
}

// A blockFinder finds blocks in bytes of which some are damaged.
type blockFinder struct {
	b     []byte
	limit int // bytes that the file has; what b lacks of them are zeros
	base  int64
	seed  uint32
	pos   int
	found []tornBlock
}

// atHeader takes the block that begins at pos, if one does.
func (f *blockFinder) atHeader() bool {
	h, err := parseBlock(f.b[f.pos:], blockMagic)
	if err != nil || checkBlock(f.b[f.pos:], &h, blockSeed(f.seed, f.base+int64(f.pos))) != nil {
		return false
	}
	f.take(&h, f.pos, f.pos+blockFixed)
	f.pos += h.size()
	return true
}

// resync goes on to the next place where a header or a copy may be. A copy that checks gives the block before it.
func (f *blockFinder) resync() {
	var header, again [4]byte
	binary.BigEndian.PutUint32(header[:], blockMagic)
	binary.BigEndian.PutUint32(again[:], copyMagic)
	lost := f.pos
	for p := f.pos; p+4 <= len(f.b); p++ {
		switch {
		case p > lost && bytes.Equal(f.b[p:p+4], header[:]):
			if f.pos = p; f.atHeader() {
				return
			}
		case bytes.Equal(f.b[p:p+4], again[:]):
			if f.atCopy(p, lost) {
				return
			}
		}
	}
	f.pos = len(f.b)
}

// atCopy takes the block whose header's copy is at p. It has to begin where nothing else was found.
func (f *blockFinder) atCopy(p, lost int) bool {
	h, err := parseBlock(f.b[p:], copyMagic)
	start := p - h.headerLen() - int(h.ItemsLen)
	if err != nil || h.Flags&blockHasCopy == 0 || start < lost {
		return false
	}
	if checkBlock(f.b[p:], &h, blockSeed(f.seed, f.base+int64(start))) != nil {
		return false
	}
	f.take(&h, start, p+blockFixed)
	f.pos = start + h.size()
	return true
}

func (f *blockFinder) take(h *blockHeader, start, tables int) {
	if end := min(start+h.size(), f.limit); end > len(f.b) {
		f.b = append(f.b[:len(f.b):len(f.b)], make([]byte, end-len(f.b))...)
	}
	from := min(start+h.headerLen(), len(f.b))
	to := min(from+int(h.ItemsLen), len(f.b))
	f.found = append(f.found, tornBlock{
		header: *h, off: f.base + int64(start), seed: blockSeed(f.seed, f.base+int64(start)),
		tables: f.b[tables : tables+int(h.Tables)], items: f.b[from:to],
	})
}

// salvage returns the items that check. Behind one that does not, the next is where a length, a checksum and an index
// that is still due come together. Behind the only one of a block there is none: it costs no search through its body.
func (b *tornBlock) salvage() ([]tornItem, map[string][]byte) {
	var d decoder
	if d.tables(&b.header, b.tables) != nil {
		return nil, nil
	}
	plain, _, _ := d.plain(&b.header, b.items, b.seed) // zeros for what does not check
	var items []tornItem
	var sums *spans // nil: nothing was searched yet
	next := uint64(0)
	for off := 0; len(plain)-off >= minItem && next < uint64(b.header.Count); {
		index, ok := peekIndex(plain[off:])
		if ok && index >= next && index < uint64(b.header.Count) {
			payload, end, checks := cutAt(plain, off, b.seed, sums)
			var it tornItem
			if checks && d.item(&it.Item, &b.header, payload, int(index)) == nil {
				it.goesOn = d.flags&itemGoesOn != 0
				items = append(items, it)
				next, off = index+1, end
				continue
			}
		}
		if b.header.Count == 1 {
			break
		}
		if sums == nil {
			sums = newSpans(plain)
		}
		off++
	}
	return items, d.positions
}

// cutAt is cutItem at an offset of b. sums, if not nil, are those of b.
func cutAt(b []byte, off int, seed uint32, sums *spans) (payload []byte, end int, checks bool) {
	if sums == nil {
		payload, rest, err := cutItem(b[off:], seed)
		return payload, len(b) - len(rest), err == nil
	}
	w, n, ok := itemLength(b[off:])
	if !ok {
		return nil, 0, false
	}
	from := off + w + 4
	end = from + n
	return b[from:end:end], end, sums.sum(seed, from, end) == binary.BigEndian.Uint32(b[off+w:])
}

// peekIndex reads the index of what may be an item.
func peekIndex(b []byte) (uint64, bool) {
	_, w := binary.Uvarint(b)
	if w <= 0 || len(b) < w+5 {
		return 0, false
	}
	index, w2 := binary.Uvarint(b[w+4:])
	return index, w2 > 0
}
