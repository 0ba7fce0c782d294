package queue

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// An id is a UUIDv7 (RFC 9562, section 5.7) whose random bits are not random: they say where the item is.
//
//	bits   0–47   ms since 1970, never going back
//	      48–51   version 7
//	      52–63   seq, bits 47–36
//	      64–65   variant
//	      66–101  seq, bits 35–0
//	     102–127  tag of the store
func makeID(ms int64, seq uint64, tag uint32) uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[0:], uint64(ms)<<16|7<<12|seq>>36&0xfff)
	binary.BigEndian.PutUint64(id[8:], 2<<62|seq&(1<<36-1)<<26|uint64(tag)&(1<<26-1))
	return id
}

// parseID is the reverse of makeID. It says no more than that the id has the right form.
func parseID(id uuid.UUID) (ms int64, seq uint64, tag uint32, ok bool) {
	hi, lo := binary.BigEndian.Uint64(id[0:]), binary.BigEndian.Uint64(id[8:])
	ok = hi>>12&0xf == 7 && lo>>62 == 2
	return int64(hi >> 16), hi&0xfff<<36 | lo>>26&(1<<36-1), uint32(lo & (1<<26 - 1)), ok
}

// tagOf is what a store's ids are told by.
func tagOf(store [16]byte) uint32 { return binary.BigEndian.Uint32(store[12:]) & (1<<26 - 1) }
