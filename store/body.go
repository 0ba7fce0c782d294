package store

import (
	"encoding/binary"
	"errors"
)

// A body's key is its u64 seq when it was evacuated for all queues, and u64 seq, u32 number when it was edited for one.
func bodyKey(queue uint32, seq uint64) []byte {
	k := binary.BigEndian.AppendUint64(make([]byte, 0, 12), seq)
	if queue != 0 {
		k = binary.BigEndian.AppendUint32(k, queue)
	}
	return k
}

const (
	bodyContinues = 1 << iota
	bodyDedupe
)

// appendBody encodes an item outside the log:
//
//	u8 flags: 1 continues, 2 dedupe | varint time | varint expires | varint not-before | to | dropped |
//	uvarint length, attributes | uvarint length, key | [16 bytes key hash, 16 bytes body hash] | the rest: body
//
// to and dropped: uvarint n, then n uvarint differences of ascending queue numbers.
func appendBody(b []byte, it *Item) []byte {
	var flags byte
	if it.Continues {
		flags |= bodyContinues
	}
	if it.Dedupe != nil {
		flags |= bodyDedupe
	}
	b = append(b, flags)
	for _, t := range []int64{it.Time, it.Expires, it.NotBefore} {
		b = binary.AppendVarint(b, t)
	}
	mask := it.Mask
	if mask == nil {
		mask = &Mask{}
	}
	b = appendNumbers(appendNumbers(b, mask.To), mask.Dropped)
	b = appendString(appendString(b, string(it.Attrs)), it.Key)
	if it.Dedupe != nil {
		b = append(append(b, it.Dedupe.Key[:]...), it.Dedupe.Body[:]...)
	}
	return append(b, it.Body...)
}

// decodeBody copies what it needs: payload may die with its transaction.
func decodeBody(seq uint64, payload []byte) (Item, error) {
	d := fields{b: payload}
	flags := d.byte()
	it := Item{Seq: seq, Continues: flags&bodyContinues != 0}
	it.Time, it.Expires, it.NotBefore = d.varint(), d.varint(), d.varint()
	it.Mask = &Mask{To: takeNumbers(&d), Dropped: takeNumbers(&d)}
	it.Attrs, it.Key = Attrs(d.bytes()), string(d.bytes())
	if flags&bodyDedupe != 0 {
		it.Dedupe = new(Dedupe)
		copy(it.Dedupe.Key[:], d.take(16))
		copy(it.Dedupe.Body[:], d.take(16))
	}
	it.Body = append([]byte(nil), d.take(uint64(len(d.b)))...)
	return it, d.done()
}

// checkBody reports whether a body is where it may be, and decodes.
func checkBody(key, payload []byte) error {
	if len(key) != 8 && len(key) != 12 {
		return errors.New("it is no key of a body")
	}
	_, err := decodeBody(binary.BigEndian.Uint64(key), payload)
	return err
}

func appendNumbers(b []byte, numbers []uint32) []byte {
	b = binary.AppendUvarint(b, uint64(len(numbers)))
	var last uint32
	for _, n := range numbers {
		b = binary.AppendUvarint(b, uint64(n-last))
		last = n
	}
	return b
}

func takeNumbers(d *fields) []uint32 {
	var numbers []uint32
	var last uint32
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		last += uint32(d.uvarint())
		numbers = append(numbers, last)
	}
	return numbers
}
