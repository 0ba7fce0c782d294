package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"
)

const (
	headerMagic   = "holdfast"
	formatVersion = 1
	headerUnit    = 512      // headers are padded to a multiple of it
	maxHeader     = 16 << 20 // no header is longer
	headerFixed   = 68
)

// castagnoli is the polynomial of every checksum in the log; processors compute it in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A segmentHeader opens a segment. It repeats what the queues knew when the segment began, so that they can be rebuilt.
//
//	 0  magic "holdfast"
//	 8  u32  version of the format
//	12  u32  length of the header, a multiple of 512
//	16  16   uuid of the store
//	32  u64  serial of the segment
//	40  u64  first seq
//	48  u64  highest seq given
//	56  i64  id time
//	64  u32  highest queue number given
//	68  snapshot: sinks, queues, source positions (uvarints and length-prefixed bytes)
//	    uvarints: first seq of the group commit that was durable with this header, see RewriteTail, and its end; 0: none was
//	    zeros
//	-4  u32  CRC-32C of everything before it, the zeros too
type segmentHeader struct {
	UUID        [16]byte
	Serial      uint64
	First       uint64
	Highest     uint64
	IDTime      int64
	QueueNumber uint32
	Sinks       []Sink
	Queues      map[uint32]headerQueue
	Positions   map[string][]byte
	KeptFirst   uint64 // of what RewriteTail put into the segment with its header; 0: nothing
	KeptEnd     uint64
}

// A headerQueue is what a header says of a queue.
type headerQueue struct {
	Cursor, LowestOwed uint64
	Accepted           Tally
}

func encodeHeader(h *segmentHeader) []byte {
	b := append([]byte(nil), headerMagic...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, h.UUID[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Serial)
	b = binary.BigEndian.AppendUint64(b, h.First)
	b = binary.BigEndian.AppendUint64(b, h.Highest)
	b = binary.BigEndian.AppendUint64(b, uint64(h.IDTime))
	b = binary.BigEndian.AppendUint32(b, h.QueueNumber)
	b = appendSinks(b, h.Sinks)
	b = appendHeaderQueues(b, h.Queues)
	b = appendPositions(b, h.Positions)
	if h.KeptFirst != 0 {
		b = binary.AppendUvarint(binary.AppendUvarint(b, h.KeptFirst), h.KeptEnd)
	}
	length := (len(b) + 4 + headerUnit - 1) / headerUnit * headerUnit
	b = append(b, make([]byte, length-4-len(b))...)
	binary.BigEndian.PutUint32(b[12:], uint32(length))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendSinks(b []byte, sinks []Sink) []byte {
	b = binary.AppendUvarint(b, uint64(len(sinks)))
	for _, s := range sinks {
		b = append(appendString(b, s.Name), byte(s.State))
		b = binary.AppendUvarint(b, uint64(len(s.Queues)))
		for _, q := range s.Queues {
			b = appendSinkQueue(b, q)
		}
	}
	return b
}

// appendSinkQueue writes a match as its length plus one, so that none differs from an empty one.
func appendSinkQueue(b []byte, q SinkQueue) []byte {
	b = binary.AppendUvarint(b, uint64(q.Number))
	if q.Live {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	if q.Match == nil {
		b = append(b, 0)
	} else {
		b = append(binary.AppendUvarint(b, uint64(len(q.Match))+1), q.Match...)
	}
	b = binary.AppendUvarint(b, q.From)
	return binary.AppendUvarint(b, q.End)
}

func appendHeaderQueues(b []byte, queues map[uint32]headerQueue) []byte {
	b = binary.AppendUvarint(b, uint64(len(queues)))
	for _, n := range slices.Sorted(maps.Keys(queues)) {
		q := queues[n]
		for _, v := range []uint64{uint64(n), q.Cursor, q.LowestOwed, uint64(q.Accepted.Items), uint64(q.Accepted.Bytes)} {
			b = binary.AppendUvarint(b, v)
		}
	}
	return b
}

func appendPositions(b []byte, positions map[string][]byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(positions)))
	for _, name := range slices.Sorted(maps.Keys(positions)) {
		b = appendString(b, name)
		b = binary.AppendUvarint(b, uint64(len(positions[name])))
		b = append(b, positions[name]...)
	}
	return b
}

// An errVersion is the number of a format that this program does not know.
type errVersion uint32

func (e errVersion) Error() string { return fmt.Sprintf("format %d", uint32(e)) }

// headerLength reads the length of a whole header from its first bytes, and refuses another format.
func headerLength(b []byte) (int, error) {
	if len(b) < headerFixed || string(b[:8]) != headerMagic {
		return 0, errors.New("it does not begin as a segment")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != formatVersion {
		return 0, errVersion(v)
	}
	n := binary.BigEndian.Uint32(b[12:])
	if n < headerUnit || n > maxHeader || n%headerUnit != 0 {
		return 0, fmt.Errorf("a header of %d bytes", n)
	}
	return int(n), nil
}

// checkHeader reports whether a header at the front of b, of whatever format, matches its checksum.
func checkHeader(b []byte) bool {
	if len(b) < headerFixed || string(b[:8]) != headerMagic {
		return false
	}
	n := int64(binary.BigEndian.Uint32(b[12:]))
	return n >= headerFixed && n <= int64(len(b)) && crc32.Checksum(b[:n-4], castagnoli) == binary.BigEndian.Uint32(b[n-4:])
}

// decodeHeader reads a header from the front of b and returns its length.
func decodeHeader(b []byte) (*segmentHeader, int, error) {
	n, err := headerLength(b)
	if err != nil {
		return nil, 0, err
	}
	if n > len(b) {
		return nil, 0, errors.New("the header is cut short")
	}
	if crc32.Checksum(b[:n-4], castagnoli) != binary.BigEndian.Uint32(b[n-4:]) {
		return nil, 0, errors.New("the header does not match its checksum")
	}
	h := &segmentHeader{
		UUID:        [16]byte(b[16:32]),
		Serial:      binary.BigEndian.Uint64(b[32:]),
		First:       binary.BigEndian.Uint64(b[40:]),
		Highest:     binary.BigEndian.Uint64(b[48:]),
		IDTime:      int64(binary.BigEndian.Uint64(b[56:])),
		QueueNumber: binary.BigEndian.Uint32(b[64:]),
	}
	u := unpacker{b: b[headerFixed : n-4]}
	h.Sinks = u.sinks()
	h.Queues = u.headerQueues()
	h.Positions = u.positions()
	if len(u.b) > 0 {
		h.KeptFirst = u.uvarint()
	}
	if h.KeptFirst != 0 {
		h.KeptEnd = u.uvarint()
		u.bad = u.bad || h.KeptFirst < h.First || h.KeptEnd <= h.KeptFirst || h.KeptEnd-1 > h.Highest
	}
	if u.bad {
		return nil, 0, errors.New("the header's snapshot does not decode")
	}
	return h, n, nil
}

func (u *unpacker) sinks() []Sink {
	var sinks []Sink
	for range u.count(3) {
		s := Sink{Name: string(u.bytes()), State: SinkState(u.byte())}
		for range u.count(5) {
			s.Queues = append(s.Queues, u.sinkQueue())
		}
		sinks = append(sinks, s)
	}
	return sinks
}

func (u *unpacker) sinkQueue() SinkQueue {
	q := SinkQueue{Number: u.uint32(), Live: u.byte() != 0}
	if n := u.uvarint(); n > 0 {
		q.Match = append([]byte{}, u.take(n-1)...)
	}
	q.From, q.End = u.uvarint(), u.uvarint()
	return q
}

func (u *unpacker) headerQueues() map[uint32]headerQueue {
	queues := make(map[uint32]headerQueue)
	for range u.count(5) {
		n := u.uint32()
		q := headerQueue{Cursor: u.uvarint(), LowestOwed: u.uvarint()}
		q.Accepted = Tally{Items: int64(u.uvarint()), Bytes: int64(u.uvarint())}
		queues[n] = q
	}
	return queues
}

func (u *unpacker) positions() map[string][]byte {
	n := u.count(2)
	if n == 0 {
		return nil
	}
	positions := make(map[string][]byte)
	for range n {
		name := string(u.bytes())
		positions[name] = slices.Clone(u.bytes())
	}
	return positions
}

// readHeader reads and checks the header of the segment in f.
func readHeader(f *os.File, path string) (*segmentHeader, int64, error) {
	b := make([]byte, headerUnit)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	length, err := headerLength(b[:n])
	if err == nil && length > len(b) {
		if fi, serr := f.Stat(); serr != nil || fi.Size() < int64(length) {
			return nil, 0, errors.Join(serr, &DamageError{Path: path, Offset: 12, What: "the header is cut short"})
		}
		b = make([]byte, length)
		if n, err = f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
	}
	h, length, err := decodeHeader(b[:n])
	if v, ok := errors.AsType[errVersion](err); ok {
		return nil, 0, &FormatError{Path: path, Found: uint32(v), Know: formatVersion}
	}
	if err != nil {
		return nil, 0, &DamageError{Path: path, Offset: 0, What: err.Error()}
	}
	return h, int64(length), nil
}
