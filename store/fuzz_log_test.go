package store

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bounded fails when a decoder takes more memory than in proportion to its input.
func bounded(t *testing.T, input []byte, decode func(b []byte)) {
	t.Helper()
	b := bytes.Clone(input) // the fuzzer's own must stay as it is
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	decode(b)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20+256*uint64(len(input)) {
		t.Fatalf("%d bytes of input took %d bytes of memory", len(input), took)
	}
}

// sealCRC puts the checksum that belongs there, so that the fuzzer gets behind it.
func sealCRC(b []byte, seed uint32, from, to int) {
	if from <= to && to+4 <= len(b) {
		binary.BigEndian.PutUint32(b[to:], crc32.Update(seed, castagnoli, b[from:to]))
	}
}

func seedBlock() []byte {
	items := append(request(5, 20, maskAB), fullItem())
	for i := range items {
		items[i].Seq = uint64(i + 1)
	}
	e := encoder{blockBytes: 4096}
	total := e.plan(items, 1, 77, map[string][]byte{"a": {1}})
	b, _ := e.encode(items, 1, 77, 0, 0, total)
	return b
}

func FuzzBlock(f *testing.F) {
	f.Add(seedBlock())
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, b, decodeAny)
	})
}

// decodeAny decodes a block with its checksums put right.
func decodeAny(b []byte) {
	h, err := parseBlock(b, blockMagic)
	if err != nil {
		return
	}
	seed := blockSeed(0, 0)
	sealCRC(b, seed, 4, blockFixed+int(h.Tables))
	var d decoder
	if checkBlock(b, &h, seed) != nil || d.tables(&h, b[blockFixed:blockFixed+int(h.Tables)]) != nil || h.Codec != codecNone {
		return
	}
	items := b[h.headerLen():]
	items = items[:min(len(items), int(h.ItemsLen))]
	for rest := items; ; {
		n, w := binary.Uvarint(rest)
		if w <= 0 || n > uint64(len(rest)) || w+4+int(n) > len(rest) {
			break
		}
		binary.BigEndian.PutUint32(rest[w:], crc32.Update(seed, castagnoli, rest[w+4:w+4+int(n)]))
		rest = rest[w+4+int(n):]
	}
	if int(h.ItemsLen) > len(items) {
		return // a reader never asks for the items of a block that is cut short
	}
	got, _, _ := d.items(&h, items, seed)
	for _, it := range got {
		for range it.Attrs.All() {
			continue
		}
	}
}

func FuzzTail(f *testing.F) {
	f.Add(seedBlock(), uint16(3))
	f.Add(append(make([]byte, 100), seedBlock()...), uint16(150))
	f.Fuzz(func(t *testing.T, b []byte, damage uint16) {
		bounded(t, b, func(b []byte) {
			if len(b) > 0 {
				b[int(damage)%len(b)] ^= 0xff
			}
			find := blockFinder{b: b, limit: len(b) + 1000}
			for find.pos < len(find.b) {
				if !find.atHeader() {
					find.resync()
				}
			}
			for i := range find.found {
				items, _ := find.found[i].salvage()
				wholeRequests(items, 0)
			}
		})
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(encodeHeader(&segmentHeader{
		UUID: logUUID, Serial: 3, First: 4, Highest: 3, IDTime: 5, QueueNumber: 2,
		Sinks:  []Sink{{Name: "a", State: Active, Queues: []SinkQueue{{Number: 2, Match: []byte("m"), From: 1, End: 2}}}},
		Queues: map[uint32]headerQueue{2: {1, 2, Tally{3, 4}}}, Positions: map[string][]byte{"x": {1}},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, b, func(b []byte) {
			n, err := headerLength(b)
			if err != nil {
				return
			}
			sealCRC(b, 0, 0, n-4)
			h, _, err := decodeHeader(b)
			if err != nil {
				return
			}
			again, _, err := decodeHeader(encodeHeader(h))
			if diff := cmp.Diff(h, again); err != nil || diff != "" {
				t.Fatal(err, diff)
			}
		})
	})
}

func FuzzFooter(f *testing.F) {
	st := segmentState{end: 9, items: 8, bytes: 7, keys: 6, lastTime: 5}
	st.index.unions = [][]uint32{{1, 2}, nil}
	st.index.entries = []indexEntry{{1, 2, 512, 1}, {5, 1, 600, 0}}
	f.Add(encodeFooter(&st, 7)) // as the first ones were
	st.queues = []queueTally{{1, Tally{3, 4}}, {9, Tally{5, 6}}}
	f.Add(encodeFooter(&st, 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, b, func(b []byte) {
			sealCRC(b, 7, 0, len(b)-4-trailerLen)
			got, err := decodeFooter(b, 7, 512, 1<<20)
			if err != nil {
				return
			}
			got.index.find(4, 512)
			got.index.skip(600, 1)
			got.of(9)
		})
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(encodeKeys(logUUID, 4, 5, []Key{{Dedupe{[16]byte{1}, [16]byte{2}}, 3, 4}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, b, func(b []byte) {
			sealCRC(b, 0, 0, len(b)-4)
			_, _ = decodeKeys(bytes.NewReader(b), int64(len(b)), logUUID, func(Key) bool { return true })
		})
	})
}

// FuzzSegment opens a file of any content: it is read, or refused, and nothing else.
func FuzzSegment(f *testing.F) {
	b := newLog(f)
	b.append(append(request(5, 50, maskA), fullItem())...)
	b.append(item(30, maskB))
	whole, err := os.ReadFile(b.log.active.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:b.log.active.size], true)
	f.Add(whole[:b.log.active.size-30], false)
	f.Fuzz(func(t *testing.T, file []byte, clean bool) {
		b := newLog(t)
		b.log.close()
		b.known.Clean = clean
		if err := os.WriteFile(b.dir+"/"+segmentName(1, 1)+".log", file, 0o600); err != nil {
			t.Fatal(err)
		}
		if b.tryOpen() != nil {
			return
		}
		b.rewriteTail()
		b.tryRead(1, 0)
		b.append(item(1, maskA))
	})
}
