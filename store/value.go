package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Every value in queues.db ends with a checksum, so that it can be told from damage, and carved out of a page that no
// tree leads to any more:
//
//	value = payload | u32 CRC-32C over: u32 queue number (0 outside of queues), key, payload
//
// Index entries (due, not due, expiry, key) have an empty value: they can be made again from the rows.
var valueTable = crc32.MakeTable(crc32.Castagnoli)

var errChecksum = errors.New("the checksum does not match")

func valueSum(number uint32, key, payload []byte) uint32 {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], number)
	return crc32.Update(crc32.Update(crc32.Update(0, valueTable, n[:]), valueTable, key), valueTable, payload)
}

// sealValue appends the checksum to payload, which it may overwrite beyond its length.
func sealValue(number uint32, key, payload []byte) []byte {
	return binary.BigEndian.AppendUint32(payload, valueSum(number, key, payload))
}

// openValue returns the payload of a value whose checksum holds. It points into value.
func openValue(number uint32, key, value []byte) ([]byte, error) {
	n := len(value) - 4
	if n < 0 || binary.BigEndian.Uint32(value[n:]) != valueSum(number, key, value[:n]) {
		return nil, errChecksum
	}
	return value[:n:n], nil
}

// fields takes what follows off the front of a payload. After the first that is not there it yields zeros and is bad.
type fields struct {
	b   []byte
	bad bool
}

func (d *fields) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	head := d.b[:n:n]
	d.b = d.b[n:]
	return head
}

func (d *fields) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *fields) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *fields) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *fields) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.take(uint64(n))
	return v
}

func (d *fields) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.take(uint64(n))
	return v
}

func (d *fields) bytes() []byte { return d.take(d.uvarint()) }

// done reports an error unless every byte was taken and none was missing.
func (d *fields) done() error {
	if d.bad || len(d.b) > 0 {
		return errors.New("its fields do not fill it")
	}
	return nil
}
