package store

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
	"unsafe"
)

// A blockPlan is one block to be written: where its items are, its encoded tables, and the lengths.
type blockPlan struct {
	from, to int
	tables   [2]int // in encoder.tables
	itemsLen int
	attrsOff int // of the sets within the tables
	masks    []*Mask
	tallies  []Tally
	gap      bool
	header   blockHeader // set by encode
}

// An encoder turns items into the bytes of one group commit. Its scratch is reused, the buffer is a fresh one each time:
// the blocks keep it.
type encoder struct {
	blockBytes int
	packer     *compressor // nil: blocks are not compressed
	plans      []blockPlan
	tables     []byte
	sizes      []itemPlan
	masks      maskTable
	attrs      attrsTable
}

type itemPlan struct {
	size        uint32 // of the payload, behind its CRC
	mask, attrs uint32
	attrsOff    uint32 // of the set's bytes within the sets
}

// plan cuts items into blocks and computes every length. It returns the length of the whole. expected is the end of
// what is in the log: another first seq is a gap. Where blocks are compressed the whole may become shorter.
func (e *encoder) plan(items []Item, expected uint64, queueTime int64, positions map[string][]byte) int {
	e.plans, e.tables = e.plans[:0], e.tables[:0]
	e.sizes = slices.Grow(e.sizes[:0], len(items))[:len(items)]
	total := 0
	for from := 0; from < len(items); {
		p := e.planBlock(items, from, queueTime)
		p.gap = items[from].Seq != expected
		expected = items[p.to-1].Seq + 1
		if p.to < len(items) {
			e.closeTables(&p, nil)
		} else {
			e.closeTables(&p, positions)
		}
		e.plans = append(e.plans, p)
		from = p.to
		h := blockHeader{Tables: uint32(p.tables[1] - p.tables[0]), ItemsLen: uint32(p.itemsLen), Flags: p.flags()}
		total += h.size()
	}
	return total
}

func (p *blockPlan) flags() byte {
	var f byte
	if p.to-p.from > 1 {
		f |= blockHasCopy
	}
	if p.gap {
		f |= blockGap
	}
	return f
}

// planBlock takes items from from on until the block is full, or the seqs have a gap.
func (e *encoder) planBlock(items []Item, from int, queueTime int64) blockPlan {
	p := blockPlan{from: from, to: from}
	e.masks.reset()
	e.attrs.reset()
	size := 2 * headerCost
	for i := from; i < len(items); i++ {
		it := &items[i]
		if i > from && (it.Seq != items[i-1].Seq+1 || i-from == maxCount) {
			break
		}
		mask, newMask := e.masks.add(it.Mask)
		plan := itemPlan{mask: mask}
		newAttrs := false
		if it.Attrs != "" {
			plan.attrs, newAttrs = e.attrs.add(it.Attrs)
			plan.attrsOff = e.attrs.offset[plan.attrs]
		}
		plan.size = uint32(payloadSize(items, i, i-from, &plan, items[from].Time, queueTime))
		n := int(plan.size) + uvarintLen(uint64(plan.size)) + 4
		if newMask {
			size += 2 * maskCost(it.Mask)
		}
		if newAttrs {
			size += 2 * (len(it.Attrs) + 5)
		}
		if i > from && size+n > e.blockBytes {
			e.masks.undo(newMask)
			e.attrs.undo(newAttrs)
			break
		}
		e.sizes[i] = plan
		e.masks.tallies[mask] = e.masks.tallies[mask].Add(Tally{1, int64(len(it.Body))})
		size += n
		p.itemsLen += n
		p.to = i + 1
	}
	return p
}

// payloadSize is the exact length of what appendPayload appends.
func payloadSize(items []Item, i, index int, p *itemPlan, base, queueTime int64) int {
	it := &items[i]
	flags := flagsOf(items, i, base)
	n := uvarintLen(uint64(index)) + uvarintLen(flags) + uvarintLen(uint64(p.mask)) + len(it.Body)
	if flags&itemAttrs != 0 {
		n += uvarintLen(uint64(p.attrs))
	}
	if flags&itemTime != 0 {
		n += uvarintLen(zigzag(it.Time - base))
	}
	if flags&itemExpires != 0 {
		n += uvarintLen(zigzag(it.Expires - queueTime))
	}
	if flags&itemNotBefore != 0 {
		n += uvarintLen(zigzag(it.NotBefore - base))
	}
	if flags&itemKey != 0 {
		n += uvarintLen(uint64(len(it.Key))) + len(it.Key)
	}
	if flags&itemDedupe != 0 {
		n += 32
	}
	return n
}

func flagsOf(items []Item, i int, base int64) uint64 {
	it := &items[i]
	var f uint64
	if it.Continues {
		f |= itemContinues
	}
	if i+1 < len(items) && items[i+1].Continues && items[i+1].Seq == it.Seq+1 {
		f |= itemGoesOn
	}
	if it.Attrs != "" {
		f |= itemAttrs
	}
	if it.Time != base {
		f |= itemTime
	}
	if it.Expires != 0 {
		f |= itemExpires
	}
	if it.NotBefore != 0 {
		f |= itemNotBefore
	}
	if it.Key != "" {
		f |= itemKey
	}
	if it.Dedupe != nil {
		f |= itemDedupe
	}
	return f
}

// closeTables encodes a block's tables. First the sets of all masks, then their tallies: so readers see at a glance
// that the sets are those of the block before.
//
//	uvarint length of the sets; per mask: uvarint n and n deltas of To, uvarint n and n deltas of Dropped
//	per mask: uvarint items, uvarint bytes of their bodies
//	uvarint count of attribute sets; each uvarint length, bytes
//	uvarint count of source positions; each uvarint length, name, uvarint length, value
func (e *encoder) closeTables(p *blockPlan, positions map[string][]byte) {
	start := len(e.tables)
	b := binary.AppendUvarint(e.tables, uint64(len(e.masks.sets)))
	b = append(b, e.masks.sets...)
	for _, t := range e.masks.tallies {
		b = binary.AppendUvarint(b, uint64(t.Items))
		b = binary.AppendUvarint(b, uint64(t.Bytes))
	}
	b = binary.AppendUvarint(b, uint64(len(e.attrs.offset)))
	p.attrsOff = len(b) - start
	b = append(b, e.attrs.sets...)
	b = appendPositions(b, positions)
	p.tables = [2]int{start, len(b)}
	p.masks = slices.Clone(e.masks.masks)
	p.tallies = append([]Tally(nil), e.masks.tallies...)
	e.tables = b
}

// encode writes what was planned, as it has to stand at off, with the zeros behind it, and returns the bytes with the blocks
// that point into them. total is what it plans to take, with the zeros or without.
func (e *encoder) encode(items []Item, group uint64, queueTime int64, seed uint32, off int64, total int) ([]byte, []*Block) {
	b := make([]byte, 0, total+padding(off, total))
	blocks := make([]*Block, len(e.plans))
	for i := range e.plans {
		p := &e.plans[i]
		start := len(b)
		h := e.headerOf(p, items, group, queueTime)
		if i == len(e.plans)-1 {
			h.Flags |= blockEnds
			h.Pad = uint16(padding(off, start+h.size()))
		}
		seed := blockSeed(seed, off+int64(start))
		if e.packer != nil {
			b, blocks[i] = e.encodePacked(b, items, p, &h, seed, off)
			p.header = h
			continue
		}
		p.header = h
		b = appendBlockHeader(b, &h, blockMagic, e.tables[p.tables[0]:p.tables[1]], seed)
		block := &Block{First: h.First, Group: group, QueueTime: queueTime, Masks: p.masks, Size: h.size()}
		b, block.Items = e.appendItems(b, items, p, &h, seed, start+blockFixed+p.attrsOff)
		if h.Flags&blockHasCopy != 0 {
			b = appendBlockHeader(b, &h, copyMagic, e.tables[p.tables[0]:p.tables[1]], seed)
		}
		blocks[i] = block
	}
	return append(b, make([]byte, e.plans[len(e.plans)-1].header.Pad)...), blocks
}

func (e *encoder) headerOf(p *blockPlan, items []Item, group uint64, queueTime int64) blockHeader {
	leading := p.from
	for leading < p.to && items[leading].Continues {
		leading++
	}
	return blockHeader{
		Flags:     p.flags(),
		Leading:   uint16(leading - p.from),
		First:     items[p.from].Seq,
		Group:     group,
		Time:      items[p.from].Time,
		QueueTime: queueTime,
		Count:     uint32(p.to - p.from),
		ItemsLen:  uint32(p.itemsLen),
		Tables:    uint32(p.tables[1] - p.tables[0]),
	}
}

func appendBlockHeader(b []byte, h *blockHeader, magic uint32, tables []byte, seed uint32) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, magic)
	b = append(b, h.Codec, h.Flags)
	b = binary.BigEndian.AppendUint16(b, h.Leading)
	b = binary.BigEndian.AppendUint64(b, h.First)
	b = binary.BigEndian.AppendUint64(b, h.Group)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Time))
	b = binary.BigEndian.AppendUint64(b, uint64(h.QueueTime))
	b = binary.BigEndian.AppendUint16(b, h.Pad)
	b = binary.BigEndian.AppendUint16(b, uint16(h.Count))
	b = binary.BigEndian.AppendUint32(b, h.ItemsLen)
	b = binary.BigEndian.AppendUint32(b, h.Tables)
	b = append(b, tables...)
	return binary.BigEndian.AppendUint32(b, crc32.Update(seed, castagnoli, b[start+4:]))
}

// appendItems writes a block's items, and returns them pointing into b, which has room for all of it. sets is where in
// b the attribute sets are.
func (e *encoder) appendItems(b []byte, items []Item, p *blockPlan, h *blockHeader, seed uint32, sets int) ([]byte, []Item) {
	out := make([]Item, p.to-p.from)
	for i := p.from; i < p.to; i++ {
		plan := &e.sizes[i]
		b = binary.AppendUvarint(b, uint64(plan.size))
		crc := len(b)
		b = append(b, 0, 0, 0, 0)
		o := &out[i-p.from]
		*o = items[i]
		o.Mask = p.masks[plan.mask]
		if o.Attrs != "" {
			from := sets + int(plan.attrsOff)
			o.Attrs = Attrs(unsafe.String(&b[from], len(o.Attrs)))
		}
		b = appendPayload(b, items, i, i-p.from, plan, h, o)
		binary.BigEndian.PutUint32(b[crc:], crc32.Update(seed, castagnoli, b[crc+4:]))
	}
	return b, out
}

// appendPayload writes one item, and lets o's key, hashes and body point to where they went.
//
//	uvarint n | u32 CRC-32C of the n bytes | uvarint index in the block, uvarint flags, uvarint mask,
//	  uvarint attribute set, varint time − base, varint expires − queue time, varint not before − base,
//	  uvarint length and key, 32 bytes of hashes: those that flags announce; the rest of the n bytes is the body
func appendPayload(b []byte, items []Item, i, index int, plan *itemPlan, h *blockHeader, o *Item) []byte {
	flags := flagsOf(items, i, h.Time)
	b = binary.AppendUvarint(b, uint64(index))
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, uint64(plan.mask))
	if flags&itemAttrs != 0 {
		b = binary.AppendUvarint(b, uint64(plan.attrs))
	}
	if flags&itemTime != 0 {
		b = binary.AppendVarint(b, o.Time-h.Time)
	}
	if flags&itemExpires != 0 {
		b = binary.AppendVarint(b, o.Expires-h.QueueTime)
	}
	if flags&itemNotBefore != 0 {
		b = binary.AppendVarint(b, o.NotBefore-h.Time)
	}
	if flags&itemKey != 0 {
		b = appendString(b, o.Key)
		o.Key = unsafe.String(&b[len(b)-len(o.Key)], len(o.Key))
	}
	if flags&itemDedupe != 0 {
		b = append(append(b, o.Dedupe.Key[:]...), o.Dedupe.Body[:]...)
		o.Dedupe = (*Dedupe)(unsafe.Pointer(&b[len(b)-32]))
	}
	b = append(b, o.Body...)
	o.Body = b[len(b)-len(o.Body) : len(b) : len(b)]
	return b
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }
