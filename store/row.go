package store

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"
)

// Keys in a queue's bucket begin with one byte that says what they are:
//
//	'c'                    cursor      u64 seq
//	'd' time, seq          due         rows that are ready (time 0) or to be retried, in queue time
//	'e' time, seq          expiry      dead letters; time MaxInt64: never
//	'g' first              gone        u64 last | u8 reason; ranges never overlap
//	'k' key hash, seq      key         rows of a key that are not dead
//	'm' chunk              marks       seqs chunk×4096+i for each bit i, lowest bit first; zero bytes at the end are cut
//	'r' seq                row
//	't'                    counts      see encodeCounts
//	'w' time, seq          not due     rows that wait for the wall clock
//
// Numbers in keys are u64, big endian; a time is an i64 with its sign bit turned over, so that bytes sort as it does.
const (
	kindCursor = 'c'
	kindDue    = 'd'
	kindExpiry = 'e'
	kindGone   = 'g'
	kindKey    = 'k'
	kindMark   = 'm'
	kindRow    = 'r'
	kindCounts = 't'
	kindWall   = 'w'
)

// key1 and key2 make keys of one and of two numbers.
func key1(kind byte, a uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), kind), a)
}

func key2(kind byte, a, b uint64) []byte {
	k := append(make([]byte, 0, 17), kind)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, a), b)
}

// KeyHash is what a row keeps of an item's key; 0 for none. Two keys with one hash wait for each other, and no more.
func KeyHash(key string) uint64 {
	if key == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return max(1, h.Sum64())
}

func sortable(t int64) uint64 { return uint64(t) ^ 1<<63 }

// dueTime is where a row stands in the due index. Time 0 belongs to the rows that are ready.
func dueTime(r *Row) uint64 {
	if r.State == RowReady {
		return sortable(0)
	}
	return sortable(max(r.Next, 1))
}

// rowIndex returns the index entries of a row: at most one by time and one by key.
func rowIndex(r *Row) [][]byte {
	var keys [][]byte
	switch r.State {
	case RowReady, RowRetry:
		keys = append(keys, key2(kindDue, dueTime(r), r.Seq))
	case RowNotDue:
		keys = append(keys, key2(kindWall, sortable(r.Next), r.Seq))
	case RowDead:
		expires := r.Next
		if expires == 0 {
			expires = math.MaxInt64
		}
		return append(keys, key2(kindExpiry, sortable(expires), r.Seq))
	}
	if r.KeyHash != 0 {
		keys = append(keys, key2(kindKey, r.KeyHash, r.Seq))
	}
	return keys
}

const (
	rowOwes = 1 << iota
	rowPermanent
	rowSameError // the last error is the first one
)

// appendRow encodes a row:
//
//	u32 queue number | u8 state | u8 flags: 1 owes, 2 permanent, 4 last error is the first | uvarint attempts |
//	uvarint bytes of the body | varint first | varint last | varint next | uvarint key hash |
//	uvarint length, first error | [uvarint length, last error]
//
// The number is in it although the bucket says it, so that a carved row tells whose it is.
func appendRow(b []byte, number uint32, r *Row) []byte {
	var flags byte
	if r.Owes {
		flags |= rowOwes
	}
	if r.Permanent {
		flags |= rowPermanent
	}
	if r.FirstError == r.LastError {
		flags |= rowSameError
	}
	b = append(binary.BigEndian.AppendUint32(b, number), byte(r.State), flags)
	b = binary.AppendUvarint(b, uint64(r.Attempts))
	b = binary.AppendUvarint(b, uint64(r.Bytes))
	for _, t := range []int64{r.First, r.Last, r.Next} {
		b = binary.AppendVarint(b, t)
	}
	b = appendString(binary.AppendUvarint(b, r.KeyHash), r.FirstError)
	if flags&rowSameError == 0 {
		b = appendString(b, r.LastError)
	}
	return b
}

func decodeRow(number uint32, seq uint64, payload []byte) (Row, error) {
	d := fields{b: payload}
	owner := d.uint32()
	r := Row{Seq: seq, State: RowState(d.byte())}
	flags := d.byte()
	r.Owes, r.Permanent = flags&rowOwes != 0, flags&rowPermanent != 0
	r.Attempts, r.Bytes = uint32(d.uvarint()), int64(d.uvarint())
	r.First, r.Last, r.Next = d.varint(), d.varint(), d.varint()
	r.KeyHash = d.uvarint()
	r.FirstError = string(d.bytes())
	r.LastError = r.FirstError
	if flags&rowSameError == 0 {
		r.LastError = string(d.bytes())
	}
	if owner != number || r.State < RowReady || r.State > RowDead {
		return r, errors.New("it is no row of its queue")
	}
	return r, d.done()
}

// encodeCounts writes a queue's totals and how many other entries its bucket holds, so that lost ones are noticed:
//
//	u64 entries | 6 × i64: items and bytes settled, requeued, dead
func encodeCounts(c Counts, entries uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 60), entries)
	for _, t := range []Tally{c.Settled, c.Requeued, c.Dead} {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Items))
		b = binary.BigEndian.AppendUint64(b, uint64(t.Bytes))
	}
	return b
}

func decodeCounts(payload []byte) (c Counts, entries uint64, err error) {
	d := fields{b: payload}
	entries = d.uint64()
	for _, t := range []*Tally{&c.Settled, &c.Requeued, &c.Dead} {
		t.Items, t.Bytes = int64(d.uint64()), int64(d.uint64())
	}
	return c, entries, d.done()
}

func encodeGone(g Gone) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 13), g.Last), byte(g.Reason))
}

func decodeGone(first uint64, payload []byte) (Gone, error) {
	d := fields{b: payload}
	g := Gone{First: first, Last: d.uint64(), Reason: Reason(d.byte())}
	if g.Last < g.First {
		return g, errors.New("it ends before it begins")
	}
	return g, d.done()
}

const chunkSeqs = 4096

// encodeMarks cuts ascending marks into chunks: key → bitset.
func encodeMarks(marks []uint64) (keys [][]byte, sets [][]byte) {
	for i, seq := range marks {
		if i == 0 || seq/chunkSeqs != marks[i-1]/chunkSeqs {
			keys = append(keys, key1(kindMark, seq/chunkSeqs))
			sets = append(sets, make([]byte, 0, chunkSeqs/8+4))
		}
		set := &sets[len(sets)-1]
		bit := seq % chunkSeqs
		for uint64(len(*set)) <= bit/8 {
			*set = append(*set, 0)
		}
		(*set)[bit/8] |= 1 << (bit % 8)
	}
	return keys, sets
}

// appendMarks adds the seqs of one chunk that are not below cursor.
func appendMarks(marks []uint64, chunk, cursor uint64, set []byte) []uint64 {
	for i, b := range set {
		for bit := range 8 {
			if seq := chunk*chunkSeqs + uint64(i*8+bit); b&(1<<bit) != 0 && seq >= cursor {
				marks = append(marks, seq)
			}
		}
	}
	return marks
}
