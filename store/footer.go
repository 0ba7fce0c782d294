package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
)

const (
	footerMagic  = 0x68664631 // "hfF1"
	trailerMagic = 0x68664531 // "hfE1"
	trailerLen   = 8
	maxFooter    = 64 << 20
)

var errFooter = errors.New("no footer that checks")

// encodeFooter writes what a sealed segment need not be scanned for. It is a cache: without it the blocks tell the same.
//
//	u32 magic "hfF1" | u32 length of the whole footer
//	uvarints: end, items, bytes, items with idempotency keys, varint time of the last item
//	uvarint count of unions; each a set of queue numbers
//	uvarint count of stretches; each: uvarint seq − last, varint time − last, uvarint offset − last, uvarint union
//	uvarint count of queues; each: uvarint number − last, uvarint items, uvarint bytes of them. Early footers lack this
//	u32 CRC-32C of what stands before, seeded as a block at the footer's offset
//	u32 length of the whole footer | u32 magic "hfE1": the last bytes of the file
func encodeFooter(st *segmentState, seed uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, footerMagic)
	b = binary.BigEndian.AppendUint32(b, 0)
	for _, v := range []uint64{st.end, uint64(st.items), uint64(st.bytes), uint64(st.keys)} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendVarint(b, st.lastTime)
	b = binary.AppendUvarint(b, uint64(len(st.index.unions)))
	for _, set := range st.index.unions {
		b = appendSet(b, set)
	}
	b = binary.AppendUvarint(b, uint64(len(st.index.entries)))
	var last indexEntry
	for _, e := range st.index.entries {
		b = binary.AppendUvarint(b, e.Seq-last.Seq)
		b = binary.AppendVarint(b, e.Time-last.Time)
		b = binary.AppendUvarint(b, uint64(e.Off-last.Off))
		b = binary.AppendUvarint(b, uint64(e.Union))
		last = e
	}
	b = appendTallies(b, st.queues)
	length := uint32(len(b) + 4 + trailerLen)
	binary.BigEndian.PutUint32(b[4:], length)
	b = binary.BigEndian.AppendUint32(b, crc32.Update(seed, castagnoli, b))
	b = binary.BigEndian.AppendUint32(b, length)
	return binary.BigEndian.AppendUint32(b, trailerMagic)
}

// decodeFooter reads a whole footer, which began at off of a segment with blocks from start on.
func decodeFooter(b []byte, seed uint32, start, off int64) (segmentState, error) {
	var st segmentState
	if len(b) < 12+trailerLen || binary.BigEndian.Uint32(b) != footerMagic {
		return st, errFooter
	}
	body := b[:len(b)-4-trailerLen]
	if crc32.Update(seed, castagnoli, body) != binary.BigEndian.Uint32(b[len(body):]) {
		return st, errFooter
	}
	u := unpacker{b: body[8:]}
	st.end, st.size = u.uvarint(), off
	st.items, st.bytes, st.keys = int64(u.uvarint()), int64(u.uvarint()), int64(u.uvarint())
	st.lastTime = u.varint()
	st.index.open = off
	for range u.count(1) {
		st.index.unions = append(st.index.unions, u.set())
	}
	ok := u.entries(&st.index, start, off)
	if len(u.b) > 0 {
		st.queues = u.queueTallies()
	}
	if !ok || u.bad || len(u.b) > 0 {
		return segmentState{}, errFooter
	}
	st.sealed = true
	return st, nil
}

// entries reads the stretches; each has to lie behind the one before, within the blocks.
func (u *unpacker) entries(x *blockIndex, start, end int64) bool {
	n := u.count(4)
	x.entries = make([]indexEntry, 0, n)
	var last indexEntry
	for i := range n {
		seq, time := last.Seq+u.uvarint(), last.Time+u.varint()
		off, set := int64(last.Off)+int64(u.uint32()), u.uvarint()
		if u.bad || off < start || off >= end || set >= uint64(len(x.unions)) || (i > 0 && off <= int64(last.Off)) {
			return false
		}
		last = indexEntry{seq, time, uint32(off), uint32(set)}
		x.entries = append(x.entries, last)
	}
	return !u.bad
}

// readFooter looks for a footer at the end of a segment's file. errFooter: there is none.
func readFooter(g *segment, f *os.File, size int64) (segmentState, error) {
	b := make([]byte, trailerLen)
	if size < g.start+trailerLen {
		return segmentState{}, errFooter
	}
	if _, err := f.ReadAt(b, size-trailerLen); err != nil {
		return segmentState{}, err
	}
	length := int64(binary.BigEndian.Uint32(b))
	if binary.BigEndian.Uint32(b[4:]) != trailerMagic || length > maxFooter || length > size-g.start {
		return segmentState{}, errFooter
	}
	b = make([]byte, length)
	if _, err := f.ReadAt(b, size-length); err != nil && !errors.Is(err, io.EOF) {
		return segmentState{}, err
	}
	return decodeFooter(b, blockSeed(g.seed, size-length), g.start, size-length)
}
