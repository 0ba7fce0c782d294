package store

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	blockMagic = 0x68664231 // "hfB1"
	copyMagic  = 0x68664331 // "hfC1": the header again, at the end of its block
	blockFixed = 52         // bytes before the tables
	headerCost = blockFixed + 4
	minItem    = 8         // no item takes fewer bytes
	maxCount   = 1<<16 - 1 // items of a block

	// padMost bounds the zeros behind a group commit. A page that two of them share is written twice; zeros cost room
	// instead: 13 % for groups of one item of 512 B, 2 % for those of some pages. Such a producer writes 1.00 of what
	// the bare bodies cost so, and 1.15 without.
	padMost = 1 << 10
)

// Flags of a block.
const (
	blockHasCopy = 1 << iota // the header again at the end
	blockEnds                // the last one of its group commit
	blockGap                 // seqs between the block before and this one were never given, or never confirmed
	blockFlags   = 1<<iota - 1
)

// Flags of an item. What a flag does not announce takes no byte.
const (
	itemContinues = 1 << iota // the request of the item before goes on with this one
	itemAttrs
	itemTime
	itemGoesOn // the request goes on with the next item
	itemKey
	itemDedupe
	itemExpires
	itemNotBefore
	itemFlags = 1<<iota - 1
)

// A blockHeader opens a block. The CRC is seeded with the store's uuid, the segment's serial and the block's offset.
//
//	 0  u32  magic "hfB1"; in the copy "hfC1"
//	 4  u8   codec: 0 none, 1 zstd
//	 5  u8   flags
//	 6  u16  leading items that continue the request of the block before
//	 8  u64  first seq
//	16  u64  first seq of the group commit
//	24  i64  base time: of the first item
//	32  i64  queue time
//	40  u16  zeros behind the block, so that the next begins a page
//	42  u16  count of items
//	44  u32  length of the items
//	48  u32  length of the tables
//	52  tables: masks, their tallies, attribute sets, source positions
//	..  u32  CRC-32C of the bytes 4 to here
//	..  items, then the copy of the header
type blockHeader struct {
	Codec, Flags     byte
	Leading          uint16
	First, Group     uint64
	Time, QueueTime  int64
	Pad              uint16
	Count            uint32
	ItemsLen, Tables uint32
}

// padding is how many zeros stand behind a group commit of n bytes at off: up to the end of the page, where that is less
// than one more like it would take.
func padding(off int64, n int) int {
	left := int(-(off + int64(n)) & (pageBytes - 1))
	if left > padMost || left >= n {
		return 0
	}
	return left
}

func (h *blockHeader) end() uint64    { return h.First + uint64(h.Count) }
func (h *blockHeader) headerLen() int { return headerCost + int(h.Tables) }

// size is the length of the whole block, and of the zeros behind it.
func (h *blockHeader) size() int {
	n := h.headerLen() + int(h.ItemsLen) + int(h.Pad)
	if h.Flags&blockHasCopy != 0 {
		n += h.headerLen()
	}
	return n
}

// segmentSeed starts the checksums of a segment, blockSeed those of what begins at an offset of it: bytes that were
// copied from elsewhere, a payload that looks like a block, do not check.
func segmentSeed(uuid [16]byte, serial uint64) uint32 {
	return crc32.Checksum(binary.BigEndian.AppendUint64(uuid[:], serial), castagnoli)
}

func blockSeed(segment uint32, off int64) uint32 {
	return crc32.Update(segment, castagnoli, binary.BigEndian.AppendUint64(nil, uint64(off)))
}

// blockOverhead is the most that a block takes beside its items and what they have in its tables, positions aside: the
// header and its copy, each with three lengths of tables.
const blockOverhead = 2 * (headerCost + 5 + 3 + 3)

// EncodedSize returns an upper bound, in bytes, of what an item adds to its group commit, as if it shared nothing with
// the others. Without a mask it is that of the rest. The headers come on top: 134 bytes at most for each block, of which
// a group commit has one and about another for every Options.BlockBytes; and so do up to 1,024 zeros behind it.
func EncodedSize(it *Item) int {
	const crc, index, flags, mask, attrs, time = 4, 3, 2, 3, 3, binary.MaxVarintLen64
	n := crc + index + flags + mask + time + len(it.Body)
	tables := 0
	if it.Mask != nil {
		tables += setBytes(it.Mask.To) + setBytes(it.Mask.Dropped) + 1 + uvarintLen(uint64(len(it.Body)))
	}
	if it.Attrs != "" {
		n += attrs
		tables += uvarintLen(uint64(len(it.Attrs))) + len(it.Attrs)
	}
	if it.Expires != 0 {
		n += time
	}
	if it.NotBefore != 0 {
		n += time
	}
	if it.Key != "" {
		n += uvarintLen(uint64(len(it.Key))) + len(it.Key)
	}
	if it.Dedupe != nil {
		n += 32
	}
	return n + uvarintLen(uint64(n)) + 2*tables
}

// setBytes is the length of what appendSet appends.
func setBytes(set []uint32) int {
	n := uvarintLen(uint64(len(set)))
	var last uint32
	for _, v := range set {
		n += uvarintLen(uint64(v - last))
		last = v
	}
	return n
}

// maskCost bounds, when blocks are planned, what a mask takes in the tables.
func maskCost(m *Mask) int {
	if m == nil {
		return 0
	}
	return 5*(len(m.To)+len(m.Dropped)) + 30
}
