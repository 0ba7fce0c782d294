package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
)

// Codecs of a block's items.
const (
	codecNone = iota
	codecZstd
)

// Compression is how new blocks are written. Both are read, whatever it is.
type Compression uint8

// The ways to compress. A block that would not be smaller is not compressed.
const (
	Uncompressed Compression = iota
	Zstd
)

const (
	frameBytes = 64 << 10 // so much of a block's items is compressed by itself; what is lost of one costs the others nothing
	maxPlain   = 1 << 30  // no block has more bytes of items, as they are uncompressed
)

var errFrame = errors.New("the compressed items do not match their checksum")

// A frame is one compressed part of a block's items.
type frame struct{ size, crc uint32 }

// A compressor turns the items of blocks into frames. Its buffers are reused.
type compressor struct {
	enc    *zstd.Encoder
	frames []byte
	table  []byte
}

func newCompressor(c Compression) (*compressor, error) {
	if c == Uncompressed {
		return nil, nil
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(frameBytes),
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &compressor{enc: enc}, nil
}

// compress makes frames of a block's items, and the table of them that goes behind the block's tables:
//
//	uvarint length of the items, uncompressed; per 64 KiB of them: uvarint length of the frame, u32 CRC-32C of it
//
// They are good until the next call.
func (c *compressor) compress(items []byte, seed uint32) (table, frames []byte) {
	c.table, c.frames = binary.AppendUvarint(c.table[:0], uint64(len(items))), c.frames[:0]
	for len(items) > 0 {
		n := min(len(items), frameBytes)
		start := len(c.frames)
		c.frames = c.enc.EncodeAll(items[:n], c.frames)
		c.table = binary.AppendUvarint(c.table, uint64(len(c.frames)-start))
		c.table = binary.BigEndian.AppendUint32(c.table, crc32.Update(seed, castagnoli, c.frames[start:]))
		items = items[n:]
	}
	return c.table, c.frames
}

// frameTable reads what compress wrote behind a block's tables.
func (d *decoder) frameTable(u *unpacker, h *blockHeader) {
	d.frames, d.plainLen = d.frames[:0], 0
	if h.Codec != codecZstd {
		return
	}
	n := u.uvarint()
	if n > maxPlain || uint64(h.Count) > n/minItem || (n+frameBytes-1)/frameBytes > uint64(len(u.b))/5 {
		u.fail()
		return
	}
	sum := uint64(0)
	for range (n + frameBytes - 1) / frameBytes {
		f := frame{size: u.uint32()}
		if b := u.take(4); len(b) == 4 {
			f.crc = binary.BigEndian.Uint32(b)
		}
		sum += uint64(f.size)
		d.frames = append(d.frames, f)
	}
	if sum != uint64(h.ItemsLen) {
		u.fail()
	}
	d.plainLen = int(n)
}

// plain returns the items of a block as they were before they were compressed: b itself where they were not. What of them
// does not check, or is not in b any more, is zeros; then there is an error too, with the offset in b of the first such.
func (d *decoder) plain(h *blockHeader, b []byte, seed uint32) (plain []byte, bad int, err error) {
	if h.Codec == codecNone {
		return b, 0, nil
	}
	if d.zstd == nil {
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(frameBytes), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return nil, 0, err
		}
	}
	plain = make([]byte, d.plainLen)
	at := 0
	for i, f := range d.frames {
		to := plain[i*frameBytes : min((i+1)*frameBytes, len(plain))]
		stored := b[min(at, len(b)):min(at+int(f.size), len(b))]
		if ferr := d.frame(to, stored, f, seed); ferr != nil {
			clear(to)
			if err == nil {
				bad, err = at, ferr
			}
		}
		at += int(f.size)
	}
	return plain, bad, err
}

// frame fills to, which is as long as what the frame holds.
func (d *decoder) frame(to, stored []byte, f frame, seed uint32) error {
	if len(stored) != int(f.size) || crc32.Update(seed, castagnoli, stored) != f.crc {
		return errFrame
	}
	out, err := d.zstd.DecodeAll(stored, to[:0:len(to)])
	if err != nil || len(out) != len(to) {
		return errFrame
	}
	if &out[0] != &to[0] {
		copy(to, out)
	}
	return nil
}

// storedAt returns where in the stored items the frame begins that holds an offset of the plain ones.
func (d *decoder) storedAt(h *blockHeader, at int) int {
	if h.Codec == codecNone {
		return at
	}
	off := 0
	for i := 0; i < at/frameBytes && i < len(d.frames); i++ {
		off += int(d.frames[i].size)
	}
	return off
}

// plainSize is what a block takes in memory.
func (d *decoder) plainSize(h *blockHeader) int {
	if h.Codec == codecNone {
		return h.size()
	}
	return int(h.Tables) + d.plainLen
}

// encodePacked appends a block whose items are compressed, or are not if that is no smaller. The items that it returns
// point into a buffer of their own. The group commit begins at off.
func (e *encoder) encodePacked(b []byte, items []Item, p *blockPlan, h *blockHeader, seed uint32, off int64) ([]byte, *Block) {
	tables := e.tables[p.tables[0]:p.tables[1]]
	own := append(make([]byte, 0, len(tables)+p.itemsLen), tables...)
	own, out := e.appendItems(own, items, p, h, seed, p.attrsOff)
	stored := own[len(tables):]
	table, frames := e.packer.compress(stored, seed)
	headers := 1
	if h.Flags&blockHasCopy != 0 {
		headers = 2
	}
	if len(frames)+headers*len(table) < len(stored) {
		tables = append(tables[:len(tables):len(tables)], table...)
		stored = frames
		h.Codec, h.ItemsLen, h.Tables, h.Pad = codecZstd, uint32(len(frames)), uint32(len(tables)), 0
		if h.Flags&blockEnds != 0 {
			h.Pad = uint16(padding(off, len(b)+h.size()))
		}
	}
	b = append(appendBlockHeader(b, h, blockMagic, tables, seed), stored...)
	if headers == 2 {
		b = appendBlockHeader(b, h, copyMagic, tables, seed)
	}
	return b, &Block{First: h.First, Group: h.Group, QueueTime: h.QueueTime, Masks: p.masks, Items: out, Size: len(own)}
}
