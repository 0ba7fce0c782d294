package store

import "hash/crc32"

// spans gives the CRC-32C of any part of some bytes in a time that does not grow with its length: what a producer sent may
// look like a great many items, each as long as the rest of its block. It uses that the CRC of two parts in a row is that of
// the first, moved on by as many zeros as the second is long, plus that of the second.
type spans struct {
	b         []byte
	sums      []uint32 // register after each stride, from an empty one
	low, high []uint32 // what moves on by so many bytes, and by so many times moveLow
}

// stride is how many bytes lie between sums; parts up to shortSpan are summed as they are.
const stride, shortSpan, moveLow = 256, 1024, 1024

// newSpans looks at all of b.
func newSpans(b []byte) *spans {
	s := &spans{b: b, sums: make([]uint32, 1, len(b)/stride+2)}
	r := uint32(0)
	for off := 0; off+stride <= len(b); off += stride {
		r = register(r, b[off:off+stride])
		s.sums = append(s.sums, r)
	}
	const one, x8 = uint32(1) << 31, uint32(1) << (31 - 8) // x^8: one byte of zeros
	s.low, s.high = []uint32{one}, []uint32{one}
	for range moveLow {
		s.low = append(s.low, multiply(s.low[len(s.low)-1], x8))
	}
	for range len(b) / moveLow {
		s.high = append(s.high, multiply(s.high[len(s.high)-1], s.low[moveLow]))
	}
	return s
}

// register is crc32.Update of the register as it is, without the inversions.
func register(r uint32, b []byte) uint32 { return ^crc32.Update(^r, castagnoli, b) }

// upTo is the register after n bytes of b, from an empty one.
func (s *spans) upTo(n int) uint32 {
	i := n / stride
	return register(s.sums[i], s.b[i*stride:n])
}

// sum is crc32.Update(seed, castagnoli, b[from:to]).
func (s *spans) sum(seed uint32, from, to int) uint32 {
	if to-from <= shortSpan {
		return crc32.Update(seed, castagnoli, s.b[from:to])
	}
	return ^(s.upTo(to) ^ s.move(s.upTo(from)^^seed, to-from))
}

// move is the register after n bytes of zeros.
func (s *spans) move(r uint32, n int) uint32 {
	return multiply(multiply(r, s.low[n%moveLow]), s.high[n/moveLow])
}

// multiply is the product of two polynomials modulo that of the CRC; the highest bit is the coefficient of 1.
func multiply(a, b uint32) (p uint32) {
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			p ^= b
		}
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return p
}
