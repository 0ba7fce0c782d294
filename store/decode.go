package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"unsafe"

	"github.com/klauspost/compress/zstd"
)

var (
	errNoBlock = errors.New("no block begins here")
	errHeader  = errors.New("the block's header does not match its checksum")
	errTables  = errors.New("the block's tables do not decode")
	errCodec   = errors.New("the block has a codec that this program does not know")
	errItem    = errors.New("the item does not match its checksum")
	errLayout  = errors.New("the item does not decode")
	errLength  = errors.New("the block's items do not fill it")
)

// parseBlock reads the fixed part of a block's header, which nothing has checked yet.
func parseBlock(b []byte, magic uint32) (h blockHeader, err error) {
	if len(b) < headerCost || binary.BigEndian.Uint32(b) != magic {
		return h, errNoBlock
	}
	h = blockHeader{
		Codec:     b[4],
		Flags:     b[5],
		Leading:   binary.BigEndian.Uint16(b[6:]),
		First:     binary.BigEndian.Uint64(b[8:]),
		Group:     binary.BigEndian.Uint64(b[16:]),
		Time:      int64(binary.BigEndian.Uint64(b[24:])),
		QueueTime: int64(binary.BigEndian.Uint64(b[32:])),
		Pad:       binary.BigEndian.Uint16(b[40:]),
		Count:     uint32(binary.BigEndian.Uint16(b[42:])),
		ItemsLen:  binary.BigEndian.Uint32(b[44:]),
		Tables:    binary.BigEndian.Uint32(b[48:]),
	}
	if h.Count == 0 || h.Pad > padMost || h.ItemsLen > 1<<30 || h.Tables > 1<<30 ||
		h.Codec == codecNone && h.Count > h.ItemsLen/minItem {
		return h, errHeader
	}
	return h, nil
}

// checkBlock checks the header at the front of b, which has all of it.
func checkBlock(b []byte, h *blockHeader, seed uint32) error {
	end := blockFixed + int(h.Tables)
	if len(b) < end+4 || crc32.Update(seed, castagnoli, b[4:end]) != binary.BigEndian.Uint32(b[end:]) {
		return errHeader
	}
	if h.Codec > codecZstd {
		return errCodec
	}
	if h.Flags&^blockFlags != 0 || h.Group > h.First || h.First+uint64(h.Count) < h.First {
		return errHeader
	}
	return nil
}

// A decoder reads blocks. It keeps the masks of the block before: most blocks have the same, and share them. Not safe
// for concurrent use.
type decoder struct {
	sets      []byte
	masks     []*Mask
	tallies   []Tally
	attrs     []Attrs
	positions map[string][]byte
	flags     uint64 // of the item decoded last

	frames   []frame       // of the block, if it is compressed
	plainLen int           // of its items
	zstd     *zstd.Decoder // made when first needed
}

// tables decodes a block's tables: see closeTables and compress.
func (d *decoder) tables(h *blockHeader, b []byte) error {
	u := unpacker{b: b}
	sets := u.bytes()
	if d.masks == nil || !bytes.Equal(sets, d.sets) {
		if !d.decodeSets(sets) {
			return errTables
		}
	}
	d.tallies = d.tallies[:0]
	for range d.masks {
		d.tallies = append(d.tallies, Tally{Items: int64(u.uvarint()), Bytes: int64(u.uvarint())})
	}
	d.attrs = d.attrs[:0]
	for range u.count(1) {
		d.attrs = append(d.attrs, Attrs(viewString(u.bytes())))
	}
	d.positions = u.positions()
	d.frameTable(&u, h)
	if u.bad || len(u.b) > 0 {
		return errTables
	}
	return nil
}

func (d *decoder) decodeSets(b []byte) bool {
	d.masks, d.sets = nil, b
	u := unpacker{b: b}
	for len(u.b) > 0 {
		d.masks = append(d.masks, &Mask{To: u.set(), Dropped: u.set()})
	}
	if u.bad {
		d.masks = nil
	}
	return d.masks != nil
}

// wants reports whether any item of the block whose tables were read is for queue.
func (d *decoder) wants(queue uint32) bool { return anyHas(d.masks, queue) }

func anyHas(masks []*Mask, queue uint32) bool {
	for _, m := range masks {
		if m.Has(queue) {
			return true
		}
	}
	return false
}

// items decodes and checks the items of a block, which plain returned. They point into b. An error comes with the offset
// in b of the item that is bad.
func (d *decoder) items(h *blockHeader, b []byte, seed uint32) ([]Item, int, error) {
	items := make([]Item, h.Count)
	rest := b
	for i := range items {
		payload, after, err := cutItem(rest, seed)
		if err == nil {
			err = d.item(&items[i], h, payload, i)
		}
		if err != nil {
			return nil, len(b) - len(rest), err
		}
		rest = after
	}
	if len(rest) > 0 {
		return nil, len(b) - len(rest), errLength
	}
	return items, 0, nil
}

// cutItem cuts one item's payload off the front of b, and checks it.
func cutItem(b []byte, seed uint32) (payload, rest []byte, err error) {
	w, n, ok := itemLength(b)
	if !ok {
		return nil, nil, errItem
	}
	end := w + 4 + n
	payload = b[w+4 : end : end]
	if crc32.Update(seed, castagnoli, payload) != binary.BigEndian.Uint32(b[w:]) {
		return nil, nil, errItem
	}
	return payload, b[end:], nil
}

// itemLength reads how long the payload of the item at the front of b is. Before it stand w bytes of that length, and a
// checksum. ok: b has all of it.
func itemLength(b []byte) (w, n int, ok bool) {
	length, w := binary.Uvarint(b)
	if w <= 0 || length < 3 || uint64(len(b)-w) < 4 || length > uint64(len(b)-w-4) {
		return 0, 0, false
	}
	return w, int(length), true
}

// item decodes one payload: see appendPayload.
func (d *decoder) item(it *Item, h *blockHeader, payload []byte, index int) error {
	u := unpacker{b: payload}
	at, flags, mask := u.uvarint(), u.uvarint(), u.uvarint()
	if u.bad || at != uint64(index) || mask >= uint64(len(d.masks)) || flags&^itemFlags != 0 {
		return errLayout
	}
	it.Seq = h.First + at
	it.Time = h.Time
	it.Mask = d.masks[mask]
	it.Continues = flags&itemContinues != 0
	d.flags = flags
	if flags&itemAttrs != 0 {
		i := u.uvarint()
		if i >= uint64(len(d.attrs)) {
			return errLayout
		}
		it.Attrs = d.attrs[i]
	}
	if flags&itemTime != 0 {
		it.Time += u.varint()
	}
	if flags&itemExpires != 0 {
		it.Expires = h.QueueTime + u.varint()
	}
	if flags&itemNotBefore != 0 {
		it.NotBefore = h.Time + u.varint()
	}
	if flags&itemKey != 0 {
		it.Key = viewString(u.bytes())
	}
	if flags&itemDedupe != 0 {
		if b := u.take(32); len(b) == 32 {
			it.Dedupe = (*Dedupe)(unsafe.Pointer(&b[0]))
		}
	}
	if u.bad {
		return errLayout
	}
	it.Body = u.b[:len(u.b):len(u.b)]
	return nil
}

// viewString is b as a string, without a copy: buffers of blocks are never written again.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
