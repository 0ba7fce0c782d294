package store

import "encoding/binary"

// An unpacker takes values off the front of a buffer. Once something does not fit, bad is set and everything after it
// is zero, so that a decoder checks once, at its end.
type unpacker struct {
	b   []byte
	bad bool
}

func (u *unpacker) fail() {
	u.b, u.bad = nil, true
}

func (u *unpacker) uvarint() uint64 {
	if len(u.b) > 0 && u.b[0] < 0x80 {
		v := u.b[0]
		u.b = u.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpacker) varint() int64 {
	v := u.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (u *unpacker) uint32() uint32 {
	v := u.uvarint()
	if v > 1<<32-1 {
		u.fail()
		return 0
	}
	return uint32(v)
}

func (u *unpacker) byte() byte {
	b := u.take(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// count reads how many things follow. Each takes at least size bytes: what cannot fit is bad, so that no allocation is
// larger than in proportion to the input.
func (u *unpacker) count(size uint64) uint64 {
	n := u.uvarint()
	if n > uint64(len(u.b))/size {
		u.fail()
		return 0
	}
	return n
}

// take cuts off n bytes, without copying them.
func (u *unpacker) take(n uint64) []byte {
	if n > uint64(len(u.b)) {
		u.fail()
		return nil
	}
	b := u.b[:n:n]
	u.b = u.b[n:]
	return b
}

// bytes cuts off a length and that many bytes.
func (u *unpacker) bytes() []byte { return u.take(u.uvarint()) }
