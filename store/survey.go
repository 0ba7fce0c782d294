package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sort"
)

// A foundBlock is a block of a damaged segment of which the header, or its copy, checks.
type foundBlock struct {
	blockHeader
	off    int64 // where it begins
	tables int64 // where its tables are: in the header, or in the copy
	chain  bool  // it stands right behind the one before
}

// A survey looks through all of a segment that is damaged. It finds blocks by their headers and by the copies at their
// ends, and needs no more memory than the largest of them.
type survey struct {
	blockReader
	seg   *segment
	limit uint64 // only blocks below this seq count; 0: all
	end   uint64 // the seq after the last block found
	found []foundBlock
	spent int64 // bytes of headers that did not check
}

// tablesMost is how long tables may be, in bytes, to be looked at whatever was spent on some that did not check. A producer
// may send what looks like the headers of blocks, and each costs as much as it says that its tables are long. What a
// writer makes is longer only with thousands of sinks, or sources.
const tablesMost = 64 << 10

func newSurvey(g *segment, r *blockReader, limit uint64) *survey {
	return &survey{blockReader: *r, seg: g, limit: limit, end: g.first}
}

// run finds the blocks, in the order of their seqs. An error is one of the disk.
func (s *survey) run() error {
	chain := true
	for off := s.seg.start; off < s.size; {
		h, ok, err := s.headerAt(off, blockMagic)
		if err != nil {
			return err
		}
		if ok {
			s.take(foundBlock{h, off, off + blockFixed, chain})
			off += int64(h.size())
			chain = true
			continue
		}
		if off, chain, err = s.resync(off, chain); err != nil {
			return err
		}
	}
	return nil
}

// take keeps a block, unless it is one that the segment does not count any more.
func (s *survey) take(b foundBlock) {
	if b.First < s.end || s.limit > 0 && b.end() > s.limit {
		return
	}
	s.found = append(s.found, b)
	s.end = b.end()
}

// headerAt checks the header, or the copy of one, at an offset.
func (s *survey) headerAt(off int64, magic uint32) (h blockHeader, ok bool, err error) {
	b, err := s.at(off, headerCost)
	if err != nil {
		return h, false, notShort(err)
	}
	if h, err = parseBlock(b, magic); err != nil || int64(h.headerLen()) > s.size-off || h.Tables > tablesMost && s.spent > s.size {
		return h, false, nil
	}
	start := off // of the block
	if magic == copyMagic {
		start = off - int64(h.headerLen()) - int64(h.ItemsLen)
		if start < s.seg.start || h.Flags&blockHasCopy == 0 {
			return h, false, nil
		}
	}
	if b, err = s.at(off, h.headerLen()); err != nil {
		return h, false, notShort(err)
	}
	if ok = checkBlock(b, &h, blockSeed(s.seed, start)) == nil; !ok {
		s.spent += int64(h.headerLen())
	}
	return h, ok, nil
}

// notShort leaves the errors of the disk.
func notShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// resync returns the offset of the next header that checks, or of what is behind the next copy: that one's block it
// takes, and what follows is chained to it. chained: what stands at lost is.
func (s *survey) resync(lost int64, chained bool) (off int64, chain bool, err error) {
	for p := lost; p+4 <= s.size; {
		b, err := s.at(p, 4)
		if err != nil {
			return 0, false, err
		}
		i := bytes.Index(b, []byte("hf"))
		if i < 0 || i+4 > len(b) {
			p += int64(max(len(b)-3, 1))
			continue
		}
		p += int64(i)
		switch binary.BigEndian.Uint32(b[i:]) {
		case blockMagic:
			if _, ok, err := s.headerAt(p, blockMagic); ok && p > lost || err != nil {
				return p, false, err
			}
		case copyMagic:
			h, ok, err := s.headerAt(p, copyMagic)
			if err != nil {
				return 0, false, err
			}
			if start := p - int64(h.headerLen()) - int64(h.ItemsLen); ok && start >= lost {
				s.take(foundBlock{h, start, p + blockFixed, chained && start == lost})
				return start + int64(h.size()), true, nil
			}
		}
		p++
	}
	return s.size, false, nil
}

// load reads what there is of a block that was found.
func (r *blockReader) load(b *foundBlock) (tornBlock, error) {
	t := tornBlock{header: b.blockHeader, off: b.off, seed: blockSeed(r.seed, b.off)}
	if fi, err := r.file.Stat(); err == nil {
		r.size = min(r.size, fi.Size()) // it may be shorter than it was
	}
	tables, err := r.at(b.tables, int(b.Tables))
	if err != nil {
		return t, err
	}
	t.tables = tables[:b.Tables]
	start := b.off + int64(b.headerLen())
	n := min(int64(b.ItemsLen), r.size-start)
	if n <= 0 {
		return t, nil
	}
	items, err := r.at(start, int(n))
	if err == nil {
		t.items = items[:n]
	}
	return t, err
}

// A residue is what a block lacks: seqs whose items do not check, each with the mask that is left for it. Which of them
// had which mask nobody knows; how many did, and of how many bytes, the tables say.
func (b *tornBlock) residue(got []tornItem) (lost []lostRange) {
	var d decoder
	if d.tables(&b.header, b.tables) != nil {
		return []lostRange{{first: b.header.First, end: b.header.end()}}
	}
	left := append([]Tally(nil), d.tallies...)
	have := make(map[uint64]bool, len(got))
	for i := range got {
		have[got[i].Seq] = true
		for m := range d.masks {
			if sameMask(d.masks[m], got[i].Mask) {
				left[m] = left[m].Sub(Tally{1, int64(len(got[i].Body))})
				break
			}
		}
	}
	at := 0
	for seq := b.header.First; seq < b.header.end(); seq++ {
		if have[seq] {
			continue
		}
		for at < len(left)-1 && left[at].Items <= 0 {
			at++
		}
		bytes := max(0, left[at].Bytes) / max(1, left[at].Items)
		left[at] = left[at].Sub(Tally{1, bytes})
		lost = appendLost(lost, lostRange{seq, seq + 1, bytes, d.masks[at].To})
	}
	return lost
}

func sameMask(a, b *Mask) bool {
	return bytes.Equal(appendSet(appendSet(nil, a.To), a.Dropped), appendSet(appendSet(nil, b.To), b.Dropped))
}

// appendLost joins a range with the last one where they are alike.
func appendLost(lost []lostRange, r lostRange) []lostRange {
	if n := len(lost) - 1; n >= 0 && lost[n].end == r.first && slices.Equal(lost[n].to, r.to) {
		lost[n].end, lost[n].bytes = r.end, lost[n].bytes+r.bytes
		return lost
	}
	return append(lost, r)
}

// foundAt returns the first block that was found with an item at or above a seq; nil: the chain has it.
func (v *view) foundAt(seq uint64) *foundBlock {
	if i := sort.Search(len(v.found), func(i int) bool { return v.found[i].end() > seq }); i < len(v.found) {
		return &v.found[i]
	}
	return nil
}

// salvaged returns the items of a block that check, if it is wanted by its tables. What does not and is not known to be
// lost is damage.
func (r *blockReader) salvaged(v *view, b *foundBlock, wanted func() bool, lost []lostRange) (bool, []Item, error) {
	t, err := r.load(b)
	if err != nil {
		return false, nil, readError(v.seg, b.off, err)
	}
	err = r.again(b)
	if err == nil {
		err = r.tables(&b.blockHeader, t.tables)
	}
	if err != nil {
		return false, nil, readError(v.seg, b.off, err)
	}
	if !wanted() {
		return false, nil, nil
	}
	got, _ := t.salvage()
	items, due := make([]Item, 0, len(got)), b.First
	for i := range got {
		if len(missing(lost, due, got[i].Seq)) > 0 {
			return false, nil, v.seg.damage(b.off, errItem)
		}
		items, due = append(items, got[i].Item), got[i].Seq+1
	}
	if len(missing(lost, due, b.end())) > 0 {
		return false, nil, v.seg.damage(b.off, errItem)
	}
	return true, items, nil
}

// again checks the header, or the copy, that a block was found by.
func (r *blockReader) again(b *foundBlock) error {
	off := b.tables - blockFixed
	raw, err := r.at(off, b.headerLen())
	if err != nil {
		return err
	}
	return checkBlock(raw, &b.blockHeader, blockSeed(r.seed, b.off))
}

func (r *blockReader) salvagedItem(v *view, b *foundBlock, seq uint64, lost []lostRange) (Item, error) {
	if seq < b.First {
		return Item{}, ErrNotFound
	}
	_, items, err := r.salvaged(v, b, func() bool { return true }, lost)
	if err != nil {
		return Item{}, err
	}
	i, found := slices.BinarySearchFunc(items, seq, func(it Item, seq uint64) int { return cmp.Compare(it.Seq, seq) })
	if !found {
		return Item{}, ErrNotFound
	}
	return cloneItem(items[i]), nil
}

// eachItem calls visit with the items of a segment's blocks, ascending, until that says no; skip moves an offset on, and
// wanted leaves blocks out by their tables. Damage is dealt with as by a Reader.
func (l *segmentLog) eachItem(g *segment, step int, skip func(v *view, off int64) int64, wanted func(*blockHeader, *blockReader) bool, visit func(*Item) bool) error {
	from := g.first
	once := func(it *Item) bool {
		if it.Seq < from {
			return true
		}
		from = it.Seq + 1
		return visit(it)
	}
	for tries := 0; ; tries++ {
		v := l.view(g)
		err := l.eachItemOf(&v, step, skip, wanted, once)
		if !l.mends(err, tries) {
			return err
		}
		if err := l.mend(&v, err); err != nil {
			return err
		}
	}
}

func (l *segmentLog) eachItemOf(v *view, step int, skip func(*view, int64) int64, wanted func(*blockHeader, *blockReader) bool, visit func(*Item) bool) error {
	f, err := v.seg.open()
	if err != nil {
		return err
	}
	r := newBlockReader(v.seg, f, v.size, step)
	lost := l.record().lost
	for i := range v.found {
		b := &v.found[i]
		_, items, err := r.salvaged(v, b, func() bool { return wanted(&b.blockHeader, r) }, lost)
		if err != nil {
			return err
		}
		if !visitAll(items, visit) {
			return nil
		}
	}
	for off := skip(v, max(v.seg.start, v.foundEnd)); off < v.size; {
		h, err := r.block(off)
		if err != nil {
			return readError(v.seg, off, err)
		}
		if wanted(&h, r) {
			items, bad, err := r.itemsOf(&h, off)
			if err != nil {
				return readError(v.seg, bad, err)
			}
			if !visitAll(items, visit) {
				return nil
			}
		}
		off = skip(v, off+int64(h.size()))
	}
	return nil
}

func visitAll(items []Item, visit func(*Item) bool) bool {
	for i := range items {
		if !visit(&items[i]) {
			return false
		}
	}
	return true
}
